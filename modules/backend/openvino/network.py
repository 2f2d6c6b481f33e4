"""The UNet of a loaded model as OpenVINO computes it: compiled for one size and the networks that are folded into it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.components import Components
from modules.backend.openvino import graph
from modules.backend.openvino.graph import NotConvertible

# As OpenVINO's types and an infotext name a dtype.
_PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


@dataclass(frozen=True)
class CompiledFor:
    """What a compiled UNet is good for.

    Args:
        device: As OpenVINO names it, such as "CPU".
        precision: "f32" or "bf16"; "" for what the device computes in by itself.
        size: Rows and columns of the latents.
        networks: What is folded into the weights.
    """

    device: str
    precision: str
    size: tuple[int, int]
    networks: tuple[object, ...]


class CompiledUNet:
    """A compiled UNet. It has a copy of the weights, laid out as the device computes with them.

    Args:
        compiled: OpenVINO's model.
        unet: PyTorch's, which computes the sinusoids of timestep and sizes.
    """

    def __init__(self, compiled: Any, unet: UNet2DConditionModel) -> None:
        self._unet, self._added = unet, graph.added_inputs(unet)
        self._request = compiled.create_infer_request()
        hint = compiled.get_property("INFERENCE_PRECISION_HINT")
        self.precision = _PRECISIONS.get(hint.get_type_name(), "")

    def accepts(self, kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call of the UNet has no more inputs than the compiled one."""
        inputs = {name for name, value in kwargs.items() if value is not None}
        conds = kwargs.get("added_cond_kwargs") or {}
        return inputs <= {"added_cond_kwargs", "return_dict"} and set(conds) == set(self._added)

    def __call__(
        self, sample: Tensor, timestep: Tensor, hidden: Tensor, conds: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the prediction, float32 on the CPU.

        Args:
            sample: [rows, channels, height, width].
            timestep: One for all rows.
            hidden: [rows, tokens, hidden].
            conds: The other inputs by name.
        """
        rows = len(sample)
        inputs = [sample, self._unet.time_proj(timestep.expand(rows)), hidden]
        if self._added:
            sizes = self._unet.add_time_proj(conds["time_ids"].float().flatten())
            inputs += [conds["text_embeds"], sizes.reshape(rows, -1)]
        arrays = [tensor.detach().float().contiguous().numpy() for tensor in inputs]
        self._request.infer(arrays, share_inputs=True)
        # The request writes the next result into the same memory.
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())


class OpenVinoUNet:
    """Compiles the UNet of a loaded model, and holds the one that was compiled last.

    Args:
        components: Of the model, as they were loaded.
        cache_folder: Keeps graphs; None keeps none.
    """

    def __init__(self, components: Components, cache_folder: Path | None) -> None:
        self._components = components
        self._cache_folder = cache_folder
        self._structure = _structure(components.unet)
        self._compiled: tuple[CompiledFor, CompiledUNet] | None = None

    @property
    def is_changed(self) -> bool:
        """Return whether something else than weights is not as it was loaded, which a compiled UNet would not know of."""
        return _structure(self._components.unet) != self._structure

    def find(self, wanted: CompiledFor) -> CompiledUNet | None:
        """Return what was compiled last if it is what is wanted."""
        return self._compiled[1] if self._compiled and self._compiled[0] == wanted else None

    def compile(self, wanted: CompiledFor, report: Callable[[str], None]) -> CompiledUNet:
        """Return the compiled UNet; the one before leaves memory first.

        Args:
            wanted: What for; the weights are those that the UNet has now.
            report: Receives a text about each step of the work.

        Raises:
            NotConvertible: OpenVINO cannot compute this UNet on the device.
        """
        self._compiled = None
        openvino = importlib.import_module(graph.PACKAGE)
        unet = self._components.unet
        model = graph.read_or_trace(
            self._components,
            self._cache_folder,
            lambda: report("Converting the UNet for OpenVINO"),
        )
        report("Compiling the UNet for OpenVINO")
        graph.bind_weights(model, unet)
        sample = model.inputs[0]
        model.reshape({sample: openvino.PartialShape([-1, sample.partial_shape[1], *wanted.size])})
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if wanted.precision:
            options["INFERENCE_PRECISION_HINT"] = wanted.precision
        if wanted.device == "CPU":
            options["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
        try:
            compiled = openvino.Core().compile_model(model, wanted.device, options)
            made = CompiledUNet(compiled, unet)
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise NotConvertible(
                f"OpenVINO cannot compile the UNet for {wanted.device} ({first_line})"
            ) from error
        self._compiled = wanted, made
        return made


def available_devices() -> tuple[str, ...]:
    """Return OpenVINO's names of what it can compute on, such as "CPU" and "GPU.0"."""
    return tuple(importlib.import_module(graph.PACKAGE).Core().available_devices)


def _structure(unet: UNet2DConditionModel) -> tuple[object, ...]:
    """Return what a UNet is made of, apart from weights: layers, their hooks, and how they attend and pad."""
    return tuple(_facts(module) for module in unet.modules())


def _facts(module: nn.Module) -> tuple[object, ...]:
    processor = type(module.processor) if isinstance(module, Attention) else None
    padding = module.padding_mode if isinstance(module, nn.Conv2d) else ""
    hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
    return type(module), hooks, "forward" in vars(module), processor, padding
