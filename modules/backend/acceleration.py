"""Exchanges the UNet of a batch for OpenVINO's where the options ask for it, and notes why where that is not possible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from modules.backend.memory.offload import execution_device
from modules.backend.model import LoadedModel
from modules.backend.openvino import graph
from modules.backend.openvino.graph import NotConvertible
from modules.backend.openvino.network import CompiledFor, CompiledUNet, available_devices
from modules.params.events import Note, Phase, Sink
from modules.plan.plan import Plan


class Acceleration:
    """What computes the UNet of a batch.

    Args:
        sink: Receives phases, and a note where PyTorch computes although OpenVINO is asked for.

    Attributes:
        name: As the infotext names it; "" where PyTorch has computed every step.
        precision: The dtype that it has computed in.
    """

    def __init__(self, sink: Sink) -> None:
        self.name = ""
        self.precision = ""
        self._sink = sink

    def prepare(self, model: LoadedModel, plan: Plan) -> None:
        """Compile the UNet of a pass, if it is to be exchanged and is not the one that was compiled last."""
        if plan.settings.accelerator == "OpenVINO":
            self._prepare(model, plan)

    @contextmanager
    def use(self, model: LoadedModel, plan: Plan) -> Iterator[None]:
        """Exchange the UNet for the time of a pass's steps.

        Args:
            model: With the networks of the pass.
            plan: Of the pass; it has been prepared.
        """
        compiled = None
        if plan.settings.accelerator == "OpenVINO":
            compiled = self._prepare(model, plan)
            if compiled is not None and model.openvino.is_changed:
                compiled = None
                self._tell("something in this job changes the layers of the UNet")
        if compiled is None:
            yield
            return
        unet = model.components.unet
        # There are no hooks and no offload here: `_refusal` and `is_changed` exclude them.
        unet.forward = cast("Any", _Exchanged(unet.forward, compiled, self))
        try:
            yield
        finally:
            del unet.forward

    @staticmethod
    def is_in_use(unet: UNet2DConditionModel) -> bool:
        """Return whether a UNet is exchanged at this moment."""
        return isinstance(vars(unet).get("forward"), _Exchanged)

    def count(self, compiled: CompiledUNet) -> None:
        """Note that an exchanged UNet has computed a step."""
        self.name, self.precision = "OpenVINO", compiled.precision

    def _prepare(self, model: LoadedModel, plan: Plan) -> CompiledUNet | None:
        reason = _refusal(model, plan)
        if not reason:
            try:
                wanted = _make_compilation_key(model, plan)
                return model.openvino.find(wanted) or model.openvino.compile(
                    wanted, lambda text: self._sink(Phase(text))
                )
            except NotConvertible as error:
                reason = str(error)
        self._tell(reason)
        return None

    def _tell(self, reason: str) -> None:
        """Tell why PyTorch computes; a job shows the same note once."""
        self._sink(Note(f"PyTorch computed the UNet instead of OpenVINO: {reason}."))

    def tell_of_call(self) -> None:
        """Tell that PyTorch computes single calls."""
        self._tell(
            "something in this job gives the UNet further inputs, such as those of a ControlNet"
        )


class _Exchanged:
    """The call of a UNet for the time of a pass.

    Args:
        stock: PyTorch's, for calls with inputs that the graph has not.
        compiled: OpenVINO's.
        acceleration: Counts what was computed.
    """

    def __init__(self, stock: Any, compiled: CompiledUNet, acceleration: Acceleration) -> None:
        self._stock = stock
        self._compiled = compiled
        self._acceleration = acceleration

    def __call__(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **kwargs: Any
    ) -> Any:
        """Return what the UNet returns without `return_dict`."""
        if kwargs.get("return_dict", True) or not self._compiled.accepts(kwargs):
            self._acceleration.tell_of_call()
            return self._stock(sample, timestep, encoder_hidden_states, **kwargs)
        conds = kwargs.get("added_cond_kwargs") or {}
        output = self._compiled(sample, timestep, encoder_hidden_states, conds)
        self._acceleration.count(self._compiled)
        return (output,)


def _make_compilation_key(model: LoadedModel, plan: Plan) -> CompiledFor:
    """Return what the UNet of a pass is compiled for.

    Raises:
        NotConvertible: the device of the options is not there.
    """
    components, wanted = model.components, plan.settings.openvino_device
    found = available_devices()
    if wanted == "AUTO" and found == ("CPU",):
        wanted = "CPU"
    if wanted != "AUTO" and wanted not in {name.partition(".")[0] for name in found}:
        raise NotConvertible(f"it finds no {wanted} here, only {' and '.join(found)}")
    dtype = components.unet.dtype
    if wanted == "CPU":
        precision = "f32" if dtype.itemsize == 4 else "bf16"
    else:  # a GPU or NPU knows best, unless the picture is to be exact
        precision = "f32" if plan.model.precision == "Full" else ""
    shape = components.latent_format.shape(plan.request.width, plan.request.height)
    return CompiledFor(wanted, precision, (shape[-2], shape[-1]), model.loras)


def _refusal(model: LoadedModel, plan: Plan) -> str:
    """Return why PyTorch computes the steps of a pass, as the rest of a sentence; "" if OpenVINO can."""
    settings, device = plan.settings, execution_device(model.components.unet)
    is_hires_pass = plan.first_pass_evaluations is not None
    reasons = {
        "it is not installed; start once with --accelerator openvino": not graph.is_installed(),
        f"it works beside PyTorch on the CPU, which here uses {device}; start with --use-cpu": (
            device.type != "cpu"
        ),
        "the weights are stored in 8 bits": plan.model.stores_fp8,
        "Tiling changes how the UNet pads": settings.tiling,
        "the prompt names a hypernetwork": bool(plan.networks.hypernetworks),
        "token merging changes the UNet": plan.token_merging_ratio > 0,
        "Hypertile changes the UNet": (
            settings.hypertile_enable_unet_secondpass
            if is_hires_pass
            else settings.hypertile_enable_unet
        ),
        "DeepCache skips layers": settings.deep_cache_interval > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
