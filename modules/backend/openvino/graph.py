"""The graph of a UNet as OpenVINO computes it, without weights: traced once for each kind of UNet, kept in the cache folder.

The weights are bound when the graph is compiled, from the memory in which PyTorch has them. So a graph is good for every
checkpoint of its kind and for whatever LoRAs are folded into it, it cannot be out of date, and it takes some 200 kB.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from modules.backend.components import Components
from modules.core import atomic

logger = logging.getLogger(__name__)
PACKAGE = "openvino"
# Whatever changes in how a graph is made makes the stored ones useless.
_VERSION = 2
_MAX_GRAPHS = 24
_GRAPH, _CONSTANTS = "graph.xml", "graph.bin"
# Sides that no block can halve evenly: only then does the UNet crop what it enlarges, which other sizes need.
_EXAMPLE_SIZE = 9, 13
_EXAMPLE_ROWS, _EXAMPLE_TOKENS = 2, 77


class NotConvertible(Exception):
    """A UNet cannot be converted; the text is the rest of a sentence."""


class _InjectedSinusoids(nn.Module):
    """Replaces the sinusoidal embedding of a UNet while it is traced: returns the injected tensor."""

    value: Tensor | None = None

    def forward(self, _: Tensor) -> Tensor | None:
        """Return the injected embedding."""
        return self.value


class _Traced(nn.Module):
    """The UNet with inputs in order, in and out in 32 bits.

    The sinusoids of timestep and sizes are inputs: in bfloat16 OpenVINO would round the angles, whose error grows with the timestep
    (34 dB at 987 in place of 46).

    Args:
        unet: The UNet, with `_Given` in the place of its sinusoids.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, times: Tensor, hidden: Tensor, *added: Tensor) -> Tensor:
        """Return the prediction, float32."""
        dtype, zero = self.unet.dtype, times.new_zeros(())
        self.unet.time_proj.value = times
        conds: dict[str, Tensor] = {}
        if added:
            self.unet.add_time_proj.value = added[1]
            conds = {"text_embeds": added[0].to(dtype), "time_ids": zero}
        output = self.unet(
            sample.to(dtype),
            zero,
            encoder_hidden_states=hidden.to(dtype),
            added_cond_kwargs=conds or None,
            return_dict=False,
        )[0]
        return output.float()


@contextlib.contextmanager
def _injected_sinusoids(unet: UNet2DConditionModel) -> Iterator[None]:
    """Let the caller inject the sinusoidal embeddings of a UNet while it is traced."""
    names = ("time_proj", "add_time_proj") if added_inputs(unet) else ("time_proj",)
    stock = {name: getattr(unet, name) for name in names}
    try:
        for name in names:
            setattr(unet, name, _InjectedSinusoids())
        yield
    finally:
        for name, module in stock.items():
            setattr(unet, name, module)


def is_installed() -> bool:
    """Return whether the package is there, without importing it."""
    return importlib.util.find_spec(PACKAGE) is not None


def added_inputs(unet: UNet2DConditionModel) -> tuple[str, ...]:
    """Return the names of a UNet's inputs other than the text, in the order of the graph's inputs.

    Raises:
        NotConvertible: it gets an input that no graph here has.
    """
    config = unet.config
    kind = config["addition_embed_type"]
    if config["class_embed_type"] is not None or kind not in (None, "text_time"):
        raise NotConvertible("this kind of UNet has inputs that are not converted")
    return ("text_embeds", "time_ids") if kind else ()


def read_or_trace(
    components: Components, cache_folder: Path | None, report: Callable[[], None]
) -> Any:
    """Return the graph of a UNet, whose first inputs are those of `_Traced`, and whose others are weights by their names.

    Args:
        components: With the UNet and its weights, on the CPU.
        cache_folder: Keeps graphs; None keeps none.
        report: Called before the UNet is traced, which takes seconds.

    Raises:
        NotConvertible: OpenVINO does not know something in it.
    """
    unet = components.unet
    file = None if cache_folder is None else cache_folder / PACKAGE / f"{_key(unet)}.zip"
    if file is not None and file.is_file():
        try:
            graph = _read(file)
        except (OSError, RuntimeError, KeyError, zipfile.BadZipFile) as error:
            logger.warning("The stored graph %s cannot be read and is made again: %s", file, error)
        else:
            with contextlib.suppress(OSError):  # least recently used ones are removed
                file.touch()
            return graph
    report()
    graph = _without_weights(_trace(unet, _examples(components)), unet)
    if file is not None:
        try:
            _write(graph, file)
        except OSError as error:
            logger.warning("The graph of the UNet cannot be stored: %s", error)
    return graph


def bind_weights(graph: Any, unet: UNet2DConditionModel) -> None:
    """Give a graph the weights of a UNet, in the memory where they are as far as it is contiguous.

    Args:
        graph: Of `read_or_trace`; changed.
        unet: Of its kind.
    """
    openvino = importlib.import_module(PACKAGE)
    constant: Callable[..., Any] = importlib.import_module(f"{PACKAGE}.opset13").constant
    parameters = dict(unet.named_parameters())
    for node in list(graph.get_parameters()):
        weights = parameters.get(node.get_friendly_name())
        if weights is not None:
            bound = constant(_as_tensor(openvino, weights), shared_memory=True)
            node.output(0).replace(bound.output(0))
            graph.remove_parameter(node)


def _as_tensor(openvino: Any, weights: Tensor) -> Any:
    weights = weights.detach().contiguous()
    if weights.dtype == torch.bfloat16:  # which numpy has not
        bits = weights.view(torch.int16).numpy()
        return openvino.Tensor(bits, openvino.Shape(list(bits.shape)), openvino.Type.bf16)
    return openvino.Tensor(weights.numpy(), shared_memory=True)


def _trace(unet: UNet2DConditionModel, examples: tuple[Tensor, ...]) -> Any:
    """Return the graph of a UNet with its weights."""
    frontend = importlib.import_module(f"{PACKAGE}.frontend")
    decoder_type: Callable[..., Any] = importlib.import_module(
        f"{PACKAGE}.frontend.pytorch.ts_decoder"
    ).TorchScriptPythonDecoder
    # A trace inside inference mode would refuse the weights; what the UNet decides by sizes holds for all of them.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        warnings.catch_warnings(),
        _injected_sinusoids(unet),
    ):
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(
                _Traced(unet).eval(), examples, check_trace=False, strict=False
            )
            decoder = decoder_type(traced, example_input=examples, shared_memory=True)
            pytorch = frontend.FrontEndManager().load_by_framework("pytorch")
            return pytorch.convert(pytorch.load(decoder))
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise NotConvertible(f"OpenVINO cannot convert the UNet ({first_line})") from error


def _examples(components: Components) -> tuple[Tensor, ...]:
    """Return inputs of a UNet, whose sizes become variables of the graph."""
    config, rows = components.unet.config, _EXAMPLE_ROWS
    inputs = [
        torch.zeros(rows, config["in_channels"], *_EXAMPLE_SIZE),
        torch.zeros(rows, config["block_out_channels"][0]),
        torch.zeros(rows, _EXAMPLE_TOKENS, config["cross_attention_dim"]),
    ]
    if added_inputs(components.unet):
        count = 5 if components.micro_conditioning == "aesthetic score" else 6
        sizes = count * config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - sizes
        inputs += [torch.zeros(rows, pooled), torch.zeros(rows, sizes)]
    return tuple(inputs)


def _without_weights(graph: Any, unet: UNet2DConditionModel) -> Any:
    """Return a graph with an input in the place of each weight.

    Raises:
        NotConvertible: a weight is not in it as it is, so that another checkpoint's could not take its place.
    """
    parameter: Callable[..., Any] = importlib.import_module(f"{PACKAGE}.opset13").parameter
    shapes = {name: list(weights.shape) for name, weights in unet.named_parameters()}
    inputs: list[Any] = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Constant":
            continue
        name = node.get_friendly_name().removeprefix("self.").removeprefix("unet.")
        if name in shapes and list(node.get_output_shape(0)) == shapes.pop(name):
            replacement = parameter(
                node.get_output_partial_shape(0), node.get_output_element_type(0)
            )
            replacement.set_friendly_name(name)
            node.output(0).replace(replacement.output(0))
            inputs.append(replacement)
    if shapes:
        raise NotConvertible(f"OpenVINO changes the weights {next(iter(shapes))} of this UNet")
    graph.add_parameters(inputs)
    return graph


def _key(unet: UNet2DConditionModel) -> str:
    """Return what a graph depends on, as the name of its file."""
    openvino = importlib.import_module(PACKAGE)
    facts = {
        "config": {name: repr(value) for name, value in sorted(unet.config.items())},
        "weights": [(name, list(one.shape)) for name, one in unet.named_parameters()],
        "dtype": str(unet.dtype),
        "versions": [_VERSION, torch.__version__, diffusers.__version__, openvino.__version__],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read(file: Path) -> Any:
    openvino = importlib.import_module(PACKAGE)
    with zipfile.ZipFile(file) as archive:
        graph, constants = archive.read(_GRAPH), archive.read(_CONSTANTS)
    return openvino.Core().read_model(graph, constants)


def _write(graph: Any, file: Path) -> None:
    """Write a graph; of those that were used least recently some leave the folder."""
    openvino = importlib.import_module(PACKAGE)
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        names = _GRAPH, _CONSTANTS
        openvino.serialize(graph, *(str(Path(folder, name)) for name in names))
        with (
            atomic.open_writer(file) as writer,
            zipfile.ZipFile(writer, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name in names:
                archive.write(Path(folder, name), name)
    by_use = sorted(file.parent.glob("*.zip"), key=lambda one: one.stat().st_mtime)
    for old in by_use[:-_MAX_GRAPHS]:
        old.unlink(missing_ok=True)
