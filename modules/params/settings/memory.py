"""Options by which large models fit into small devices: which parts stay there, and how weights are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param

MemoryPolicyName = Literal[
    "Automatic",
    "All on the device",
    "Idle parts off the device",
    "Idle parts off the device for SDXL",
    "UNet in blocks",
]


class MemorySettings(BaseModel):
    """How a loaded model uses the memory of its device."""

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
