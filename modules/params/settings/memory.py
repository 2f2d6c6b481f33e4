"""Options of speed and memory: which parts of a model stay on the device, and how its weights are stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator

from modules.params.param import param

MemoryPolicyName = Literal[
    "Automatic",
    "All on the device",
    "Idle parts off the device",
    "Idle parts off the device for SDXL",
    "UNet in blocks",
]


# As an infotext names the dtype that the UNet computed in.
_PRECISION_OF_DTYPE = {"bf16": "Half", "fp16": "Half", "fp32": "Full"}


def _read_precision(value: Any) -> Any:  # Any: whatever a form or a JSON body holds
    return _PRECISION_OF_DTYPE.get(value, value) if isinstance(value, str) else value


PrecisionName = Literal["Automatic", "Full", "Half"]
AcceleratorName = Literal["PyTorch", "OpenVINO"]


class MemorySettings(BaseModel):
    """How a loaded model computes, and how it uses the memory of its device."""

    precision: Annotated[PrecisionName, BeforeValidator(_read_precision)] = param(
        "Automatic",
        "Precision",
        help="Automatic computes in 16 bits on GPUs and, for models above 8 GB, on processors that can; else in 32. "
        "Half takes half the time on such a processor, but about one picture in four changes visibly; Full is exact.",
        infotext="Precision",
        section="model",
    )

    accelerator: AcceleratorName = param(
        "PyTorch",
        "Accelerator",
        help="OpenVINO takes a half to two thirds of PyTorch's time a step on processors, in 16 bits where they can, and "
        "uses Intel GPUs and NPUs; start once with --accelerator openvino to install it.",
        infotext="Accelerator",
        section="model",
    )
    openvino_device: Literal["AUTO", "CPU", "GPU", "NPU"] = param(
        "AUTO",
        "OpenVINO device",
        help="What OpenVINO computes on: AUTO takes an Intel GPU or NPU before the CPU.",
        section="model",
    )
    converted_weights_gb: float = param(
        20.0,
        "Disk space for converted weights (GB)",
        help="A checkpoint whose weights a processor converts, such as 16-bit ones to 32 bits, is kept converted in the cache "
        "folder and loads faster from then on; the least recently used ones are deleted; 0 keeps none.",
        ge=0,
        le=10_000,
        section="model",
    )

    memory_policy: MemoryPolicyName = param(
        "Automatic",
        "Memory",
        help="Automatic measures the free memory of the GPU; a lower entry needs less of it and takes longer.",
        section="model",
    )
    fp8_storage: Literal["Disable", "Enable for SDXL", "Enable"] = param(
        "Disable",
        "FP8 weight",
        help="Stores the weights in 8 bits and computes as before: half the memory, a slightly other picture.",
        infotext="FP8 weight",
        section="model",
    )

    def memory_policy_for(self, *, is_sdxl: bool) -> MemoryPolicyName:
        """Return the policy of a model of SDXL's line, or of another."""
        if self.memory_policy == "Idle parts off the device for SDXL":
            return "Idle parts off the device" if is_sdxl else "Automatic"
        return self.memory_policy

    def stores_fp8(self, *, is_sdxl: bool) -> bool:
        """Return whether the weights of a model of SDXL's line, or of another, are stored in 8 bits."""
        return self.fp8_storage == "Enable" or (self.fp8_storage == "Enable for SDXL" and is_sdxl)
