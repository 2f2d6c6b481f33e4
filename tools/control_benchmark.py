"""What a ControlNet costs: a step over the stock pipeline's with the same components, its loading, and a step without a unit.

Steps are those of one thread, in pairs, and the networks of both sides take turns block by block: see tools/paired_steps.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tools import full_size
from tools.paired_steps import Run, Turns, compare_steps, share_heap

_PROMPT = "a red circle on a blue background"
_SIDE = 256
_PAIRS_PER_ROUND = 2
_COUNTED_STEPS = 2  # of the runs whose operations are counted
_HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256, 320)
_ENCODER = ("input_blocks.", "middle_block.", "time_embed.")
_UNET = "model.diffusion_model."
Side = Callable[[], float]
Compare = Callable[[Side, Side, int], tuple[list[float], list[float], list[float]]]


def run(rounds: int, compare: Compare) -> None:
    """Print all ratios."""
    share_heap()
    with tempfile.TemporaryDirectory() as folder:
        setup = _Setup(Path(folder))
        steps = _PAIRS_PER_ROUND * rounds + 1
        # First: it takes all threads, and steps one.
        ratios, ours_s, bare_s = compare(setup.load, setup.read, rounds)
        print(
            f"loading, over a plain read: {statistics.median(ours_s):.2f} s and {statistics.median(bare_s):.2f} s; ratio,"
            f" median of {rounds} pairs: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
        )
        stock = setup.stock()
        sides: dict[str, tuple[Callable[[int], Run], Callable[[int], Run]]] = {
            "a step with a unit, over the stock pipeline's": (setup.ours, stock),
            "a step without one, over the loop alone": (setup.without_units, setup.loop),
        }
        for name, (ours, bare) in sides.items():
            compared = compare_steps(ours(steps), bare(steps), setup.clock)
            counts = [_count_operations(side(_COUNTED_STEPS)) for side in (ours, bare)]
            print(
                f"{name}: {compared.describe()}; of the operations: {counts[0] / counts[1]:.4f}",
                flush=True,
            )


def _count_operations(run: Run) -> int:
    """Return the floating-point operations of a run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(Turns())
    return int(counter.get_total_flops())


@contextmanager
def _block_by_block(turns: Turns, *networks: Any) -> Iterator[None]:
    """Let the run of this thread wait after each block of its networks, which the other run may have, too."""
    own = threading.get_ident()

    def wait(*_: object) -> None:
        if threading.get_ident() == own:
            turns.after_part()

    blocks = [
        block
        for network in networks
        for block in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ()))
    ]
    hooks = [block.register_forward_hook(wait) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def write_controlnet(path: Path) -> Path:
    """Write a ControlNet of SD 1.x with random weights, 723 MB."""
    from tests.models.model_files import shapes_of

    shapes = {
        name.removeprefix(_UNET): shape
        for name, shape in shapes_of("sd1").items()
        if name.startswith(tuple(_UNET + part for part in _ENCODER))
    }
    inputs = 3
    for number, width in enumerate(_HINT_WIDTHS):
        shapes[f"input_hint_block.{2 * number}.weight"] = [width, inputs, 3, 3]
        shapes[f"input_hint_block.{2 * number}.bias"] = [width]
        inputs = width
    widths = (320, 320, 320, 320, 640, 640, 640, 1280, 1280, 1280, 1280, 1280)
    layers = {f"zero_convs.{number}.0": width for number, width in enumerate(widths)}
    for layer, width in {**layers, "middle_block_out.0": 1280}.items():
        shapes[f"{layer}.weight"], shapes[f"{layer}.bias"] = [width, width, 1, 1], [width]
    return full_size.write_shapes({f"control_model.{k}": v for k, v in shapes.items()}, path)


class _Setup:
    """A full-size SD 1.x checkpoint and a ControlNet for it, in 16 bits."""

    def __init__(self, folder: Path) -> None:
        import torch
        from PIL import Image, ImageDraw

        from modules.backend.runner import Runner
        from modules.models.index import ModelIndex
        from modules.params.device_options import DeviceOptions
        from modules.params.image import ImageField
        from modules.params.requests.control_unit import ControlUnit
        from modules.params.requests.txt2img import Txt2ImgRequest
        from modules.params.settings import Settings
        from modules.plan.planner import make_plan
        from modules.prompt.tokens import ClipTokenizer

        full_size.write("sd1", folder / "model.safetensors")
        self.path = write_controlnet(folder / "control" / "line.safetensors")
        configs = full_size.ROOT / "configs"
        folders = {"Checkpoint": [folder], "ControlNet": [folder / "control"]}
        index = ModelIndex(folders, configs, folder / "cache")
        image = Image.new("RGB", (_SIDE, _SIDE))
        ImageDraw.Draw(image).ellipse((40, 40, 200, 200), outline="white", width=2)
        self.image = image
        unit = ControlUnit(enabled=True, image=ImageField.from_pil(image), model="line")
        request = Txt2ImgRequest(
            prompt=_PROMPT,
            width=_SIDE,
            height=_SIDE,
            sampler_name="Euler",
            seed=1,
            control_units=(unit,),
        )
        settings = Settings(precision="Half")
        checkpoint = index.find_checkpoint("model")

        def plan(steps: int) -> Any:
            return make_plan(request.replace(steps=steps), index, checkpoint, settings)

        self._plan = plan
        self.plan = plan(_COUNTED_STEPS)
        tokenizer = ClipTokenizer(configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
        self.runner = Runner(DeviceOptions(use_cpu=not torch.cuda.is_available()), tokenizer)
        self.model = self.runner.models.acquire(self.plan.model)
        with torch.inference_mode():
            self.conditioning = self.model.encode_prompts(
                _PROMPT, "blurry", self.plan.timeline, settings, (_SIDE, _SIDE)
            )
        self.shape = self.model.components.latent_format.shape(_SIDE, _SIDE)

    def _base(self) -> Any:
        from modules.backend.control.controlnet_weights import BaseUNet

        components = self.model.components
        return BaseUNet(components.unet, components.unet_origin, self.runner.device.torch_device)

    def _network(self) -> Any:
        """Return the loaded ControlNet, as units use it."""
        from modules.backend.control.controlnet import ControlNetwork
        from modules.backend.control.controlnet_weights import load_controlnet

        base, model = self._base(), self.plan.control[0].model
        assert model is not None

        def load() -> ControlNetwork:
            return ControlNetwork(
                load_controlnet(model, base, base.device), base.device, stays=True
            )

        return self.model.control_networks.get(model, load)

    def clock(self) -> float:
        """Return the time of this thread on the processor; with a graphics card that of the clock, once it has nothing left to do."""
        import torch

        if self.runner.device.torch_device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.thread_time()

    def _run(self, plan: Any, turns: Turns, *networks: Any, has_units: bool) -> None:
        import torch

        from modules.backend.control.units import prepare_units
        from modules.backend.denoise.step_extensions import StepExtension, StepState
        from modules.backend.noise.noise import ImageNoise, noise_options
        from modules.backend.pipelines.sampling_run import make_run_sigmas

        class AfterStep(StepExtension):
            def on_step(self, state: StepState) -> None:
                del state
                turns.after_step()

        torch.set_num_threads(1)
        model, device = self.model, self.runner.device.torch_device
        options = noise_options(plan, model.components.latent_format)
        noise = ImageNoise(plan.batches[0], self.shape, device, options)
        call = partial(model.pipeline, plan, model.model_sigmas, self.conditioning, noise)
        with _block_by_block(turns, model.components.unet, *networks), torch.inference_mode():
            if not has_units:
                call(extensions=(AfterStep(),))
                return
            units = prepare_units(
                plan,
                model.components,
                model.control_networks,
                self.runner.models.preprocessors,
                make_run_sigmas(plan, model.model_sigmas),
                0,
            )
            with units.use():
                call(extensions=(*units.extensions, AfterStep()))

    def ours(self, steps: int) -> Run:
        """Return a run with a unit whose picture is encoded anew."""
        plan = self._plan(steps)

        def run(turns: Turns) -> None:
            network = self._network()
            network.forget()
            self._run(plan, turns, network.network, has_units=True)

        return run

    def without_units(self, steps: int) -> Run:
        """Return the run of a job without a unit."""
        plan = replace(self._plan(steps), control=())
        return lambda turns: self._run(plan, turns, has_units=True)

    def loop(self, steps: int) -> Run:
        """Return a run that asks for no units."""
        plan = replace(self._plan(steps), control=())
        return lambda turns: self._run(plan, turns, has_units=False)

    def load(self) -> float:
        """Load the ControlNet."""
        from modules.backend.control.controlnet_weights import load_controlnet

        base, model = self._base(), self.plan.control[0].model
        assert model is not None
        started_at = time.perf_counter()
        load_controlnet(model, base, base.device)
        return _elapsed(base.device, started_at)

    def read(self) -> float:
        """Read its file."""
        started_at = time.perf_counter()
        self.path.read_bytes()
        return time.perf_counter() - started_at

    def stock(self) -> Callable[[int], Run]:
        """Return what makes a run of diffusers' pipeline, with the same networks."""
        import torch
        from diffusers import EulerDiscreteScheduler, StableDiffusionControlNetPipeline

        from modules.backend.control.controlnet_weights import load_controlnet

        components, base = self.model.components, self._base()
        model = self.plan.control[0].model
        assert model is not None
        pipeline: Any = StableDiffusionControlNetPipeline(
            vae=components.vae,
            text_encoder=components.text_encoders[0].network,
            tokenizer=None,
            unet=components.unet,
            controlnet=load_controlnet(model, base, base.device),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        latents = torch.randn((1, *self.shape), generator=torch.Generator().manual_seed(1))
        cond, uncond = self.conditioning.conds[0], self.conditioning.uncond

        def bare(steps: int) -> Run:
            def run(turns: Turns) -> None:
                def go_on(*arguments: Any) -> dict[str, Any]:
                    turns.after_step()
                    return arguments[-1]

                torch.set_num_threads(1)
                with _block_by_block(turns, pipeline.unet, pipeline.controlnet):
                    pipeline(
                        image=self.image,
                        prompt_embeds=cond.at_step(0),
                        negative_prompt_embeds=uncond.at_step(0),
                        latents=latents.to(base.device, components.unet.dtype),
                        width=_SIDE,
                        height=_SIDE,
                        num_inference_steps=steps,
                        guidance_scale=7.0,
                        output_type="latent",
                        callback_on_step_end=go_on,
                        callback_on_step_end_tensor_inputs=[],
                    )

            return run

        return bare


def _elapsed(device: Any, started_at: float) -> float:
    """Return the seconds since a moment, once the device has nothing left to do."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started_at
