"""The cases of `tools/fingerprint.py`: calls of the HTTP API, as tables. Knows nothing of the program's code.

A value such as "@mask" in a body is replaced by an image that `fingerprint_images` draws, "@made" for the image of another case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from tools.fingerprint_case import (
    API,
    CHECKPOINTS,
    TASKS,
    VAE,
    Case,
    Fields,
    Names,
    case,
    options,
    soft_inpainting,
    some,
    table,
    with_sampler,
)
from tools.fingerprint_images import INFOTEXTS

_LONG = ", ".join(f"a {color} circle" for color in ("red", "green", "blue", "white") * 8)
_ANCESTRAL, _SDE = "Euler a", "DPM++ SDE"


# fmt: off


def samplers(names: Names) -> Iterator[Case]:
    """Every sampler in every task."""
    rows = {name: {"sampler_name": name} for name in names.samplers}
    for task, checkpoint in (
        ("txt2img", "demo"), ("txt2img", "demo-v2"), ("img2img", "demo"), ("inpaint", "demo"),
        ("inpaint", "demo-inpainting"), ("soft inpainting", "demo"), ("depth", "demo-depth"),
    ):
        yield from table("sampler", task, rows, checkpoint)
    second = {name: {"steps": 4, "hr_sampler_name": name} for name in names.samplers}
    yield from table("sampler of the second pass", "hires", second)
    for steps in (1, 2):
        few = {name: {"sampler_name": name, "steps": steps} for name in names.samplers}
        yield from table(f"sampler, steps {steps}", "txt2img", few)
    restarts = {f"Restart {steps}": {"sampler_name": "Restart", "steps": steps} for steps in (21, 37)}
    yield from table("sampler", "txt2img", restarts)


def schedules(names: Names) -> Iterator[Case]:
    """Every schedule with two samplers."""
    rows = {name: {"scheduler": name} for name in names.schedules}
    second_order = {name: {"scheduler": name, "sampler_name": "DPM++ 2M"} for name in names.schedules}
    yield from table("schedule", "txt2img", rows)
    yield from table("schedule with DPM++ 2M", "txt2img", second_order)
    yield from table("schedule", "img2img", rows)
    yield from table("schedule", "txt2img", rows, "demo-inpainting")


def checkpoints(names: Names) -> Iterator[Case]:
    """Every checkpoint in every task, whether or not it can; VAEs and clip skip."""
    del names
    for checkpoint in CHECKPOINTS:
        for task in TASKS:
            yield case("checkpoint", task, {}, checkpoint)
    vaes = {name: options(sd_vae=name) for name in ("Automatic", "None", VAE, "missing.pt")}
    clips = {str(number): options(CLIP_stop_at_last_layers=number) for number in (1, 2, 3)}
    for checkpoint in ("demo", "demo-v2"):
        yield from table("vae", "txt2img", vaes, checkpoint)
        yield from table("clip skip", "txt2img", clips, checkpoint)
    yield from table("vae", "img2img", vaes)


PROMPTS: Mapping[str, str] = {
    "empty": "",
    "weights": "a (red:1.4) (circle) on a [blue] ((background))",
    "nested weights": "a ((red:0.5) circle:1.5), [[[stars]]]",
    "escaped": r"a \(red\) circle \[on\] blue",
    "open bracket": "a (red circle on [blue",
    "edit by share": "a [red:green:0.5] circle",
    "edit by step": "a [red:green:3] circle",
    "edit that adds": "a circle [stars:0.4]",
    "edit that removes": "a [red::4] circle",
    "edit beyond the end": "a [red:green:1.5] circle, [x:y:20]",
    "nested edit": "a [red:[green:blue:0.75]:0.25] circle",
    "alternation": "a [red|green|blue] circle",
    "alternation in an edit": "a [red:[green|white]:0.4] circle",
    "weighted alternation": "a ([red|green]:1.3) circle [|stars]",
    "break": "a red circle BREAK a blue background",
    "break in brackets": "(a red circle BREAK a blue background:1.2)",
    "and": "a red circle AND mountains at sunset :0.6 AND stars :-0.3",
    "long": _LONG,
    "long without commas": _LONG.replace(",", ""),
    "long with break": f"{_LONG} BREAK {_LONG}",
    "comment": "a red circle # of no effect\non a blue background",
    "network": "a red circle <lora:none:0.8>",
    "other letters": "ein größerer Kreis, 赤い円 🔴",
}


def prompts(names: Names) -> Iterator[Case]:
    """The prompt language."""
    del names
    rows = {name: {"prompt": text} for name, text in PROMPTS.items()}
    yield from table("prompt", "txt2img", rows)
    yield from table("prompt", "txt2img", rows, "demo-v2")
    negative = {name: {"negative_prompt": text} for name, text in PROMPTS.items()}
    yield from table("negative prompt", "txt2img", negative)
    timed = some(rows, "edit by share", "edit by step", "edit beyond the end", "alternation")
    old = {name: {**fields, **options(use_old_scheduling=True)} for name, fields in timed.items()}
    for sampler in ("Heun", "DPM++ 2S a", "DDIM", "DPM fast"):
        sampled = {name: {**fields, "sampler_name": sampler} for name, fields in timed.items()}
        yield from table(f"prompt with {sampler}", "txt2img", sampled)
    yield case("prompt with DPM adaptive", "txt2img", {**rows["alternation"], "sampler_name": "DPM adaptive"})
    yield from table("prompt", "img2img", timed)
    yield from table("prompt", "hires", timed)
    yield from table("prompt, old scheduling", "txt2img", old)
    yield from table("prompt, old scheduling", "hires", old)
    yield case("prompt, old scheduling", "txt2img", {**old["edit by step"], "sampler_name": "Heun"}, row="Heun")


def prompt_options(names: Names) -> Iterator[Case]:
    """The options of reading and encoding prompts, and styles."""
    del names
    weighted, long, long_negative = (
        {"prompt": PROMPTS["weights"]}, {"prompt": _LONG, "negative_prompt": "green"}, {"negative_prompt": _LONG},
    )
    rows: dict[str, Fields] = {
        f"emphasis {mode}": {**weighted, **options(emphasis=mode)}
        for mode in ("Original", "No norm", "Ignore", "None")
    }
    rows |= {
        "old emphasis": {**weighted, **options(use_old_emphasis_implementation=True)},
        "pad": {**long, **options(pad_cond_uncond=True)},
        "pad, long negative": {**long_negative, **options(pad_cond_uncond=True)},
        "pad v0": {**long, **options(pad_cond_uncond_v0=True)},
        "pad v0, long negative": {**long_negative, **options(pad_cond_uncond_v0=True)},
        "no backtracking": {**long, **options(comma_padding_backtrack=0)},
        "no comments": {"prompt": PROMPTS["comment"], **options(enable_prompt_comments=False)},
        "one by one": {"prompt": PROMPTS["and"], **options(batch_cond_uncond=False)},
        "style": {"styles": ["painting"]},
        "two styles": {"styles": ["painting", "plain"]},
        "style with a comment": {"styles": ["noted"]},
        "missing style": {"styles": ["nobody"]},
    }
    yield from table("prompt option", "txt2img", rows)
    yield from table("prompt option", "txt2img", rows, "demo-v2")


def guidance(names: Names) -> Iterator[Case]:
    """How strictly the prompts are followed, and when the negative one is."""
    del names
    rows: dict[str, Fields] = {f"cfg {scale}": {"cfg_scale": scale} for scale in (0, 0.5, 1, 1.5, 15)}
    rows |= {
        "cfg 1 DDIM CFG++": {"cfg_scale": 1, "sampler_name": "DDIM CFG++"},
        "cfg 1 DPM++ SDE": {"cfg_scale": 1, "sampler_name": _SDE},
        "ngms": options(s_min_uncond=3),
        "ngms all": options(s_min_uncond=3, s_min_uncond_all=True),
        "ngms field": {"s_min_uncond": 4},
        "ngms DDIM": {"steps": 100, **with_sampler("DDIM", s_min_uncond=15, s_min_uncond_all=True)},
        "ngms Heun": with_sampler("Heun", s_min_uncond=3),
        "ngms with and": {"prompt": PROMPTS["and"], **options(s_min_uncond=3)},
        "skip early": options(skip_early_cond=0.4),
        "skip early DPM++ SDE": with_sampler(_SDE, skip_early_cond=0.4),
        "skip early and ngms": options(skip_early_cond=0.3, s_min_uncond=2),
        "rescale": options(cfg_rescale=0.7),
        "rescale DDIM CFG++": with_sampler("DDIM CFG++", cfg_rescale=0.7),
    }
    yield from table("guidance", "txt2img", rows)
    yield from table("guidance", "img2img", some(rows, "ngms", "skip early", "rescale"))
    yield from table("guidance", "inpaint", some(rows, "ngms", "rescale"), "demo-inpainting")


def noise(names: Names) -> Iterator[Case]:
    """Where noise is drawn, and how much of it samplers add."""
    del names
    churn = {"s_churn": 6, "s_tmin": 0.2, "s_tmax": 9, "s_noise": 1.05}
    rows: dict[str, Fields] = {
        "churn fields": churn,
        "noise field": {"sampler_name": _SDE, "s_noise": 0.9},
        "eta field": {"sampler_name": _ANCESTRAL, "eta": 0.3},
        "sgm": options(sgm_noise_multiplier=True),
        "zero snr": options(sd_noise_schedule="Zero Terminal SNR"),
        "zero snr DDIM": with_sampler("DDIM", sd_noise_schedule="Zero Terminal SNR"),
        **{f"churn {name}": with_sampler(name, **churn) for name in ("Euler", "Heun", "DPM2")},
        **{f"eta {name}": with_sampler(name, eta_ddim=0.6) for name in ("DDIM", "DDIM CFG++")},
        **{f"ensd {name}": with_sampler(name, eta_noise_seed_delta=31337)
           for name in (_ANCESTRAL, _SDE, "LCM", "DPM++ 2S a", "Euler")},
        **{f"eta {eta} {name}": with_sampler(name, eta_ancestral=eta) for eta in (0, 0.4)
           for name in (_ANCESTRAL, _SDE, "DPM++ 2S a", "DPM2 a", "DPM++ 3M SDE", "DPM fast", "DPM adaptive")},
        **{f"source {source} {name}": {"batch_size": 2, **with_sampler(name, randn_source=source)}
           for source in ("GPU", "CPU", "NV") for name in ("Euler", _ANCESTRAL, _SDE)},
    }
    yield from table("noise", "txt2img", rows)
    again = some(rows, "churn Euler", "eta 0.4 Euler a", "eta DDIM", "sgm", "zero snr",
                 "source CPU Euler a", "source NV DPM++ SDE")
    yield from table("noise", "img2img", again)
    yield from table("noise", "hires", again)


def sampling(names: Names) -> Iterator[Case]:
    """The options of samplers and schedules; tiling."""
    del names
    narrow = options(sigma_min=0.1, sigma_max=10, rho=5)
    rows: dict[str, Fields] = {
        **{f"range {name}": {"scheduler": name, **narrow}
           for name in ("Karras", "Polyexponential", "Exponential", "Uniform")},
        "beta": {"scheduler": "Beta", **options(beta_dist_alpha=0.4, beta_dist_beta=0.9)},
        "old karras": {"scheduler": "Karras", **options(use_old_karras_scheduler_sigmas=True)},
        "discard": options(always_discard_next_to_last_sigma=True),
        "downcast": options(use_downcasted_alpha_bar=True),
        "quantized": options(enable_quantization=True),
        "quantized DPM++ 2M": with_sampler("DPM++ 2M", enable_quantization=True),
        "discretize": with_sampler("DDIM", ddim_discretize="quad"),
        "unipc order": with_sampler("UniPC", uni_pc_order=2, uni_pc_lower_order_final=False),
        **{f"unipc {kind}": with_sampler("UniPC", uni_pc_variant=kind) for kind in ("bh2", "vary_coeff")},
        **{f"unipc {kind}": with_sampler("UniPC", uni_pc_skip_type=kind) for kind in ("time_quadratic", "logSNR")},
        "tiling": options(tiling=True),
        "tiling field": {"tiling": True},
    }
    yield from table("sampling", "txt2img", rows)
    again = some(rows, "range Karras", "discard", "downcast", "quantized", "unipc bh2", "tiling")
    yield from table("sampling", "img2img", again)
    yield from table("sampling", "hires", again)


def seeds(names: Names) -> Iterator[Case]:
    """Batches, variations and sizes that seeds are resized from."""
    del names
    variation: Fields = {"subseed": 11, "subseed_strength": 0.4}
    rows: dict[str, Fields] = {
        "count 2": {"n_iter": 2},
        "batch of 3": {"batch_size": 3},
        "two batches of Euler a": {"n_iter": 2, "batch_size": 2, "sampler_name": _ANCESTRAL},
        "batch of DPM++ SDE": {"batch_size": 3, "sampler_name": _SDE},
        "batch of DPM adaptive": {"batch_size": 2, "sampler_name": "DPM adaptive"},
        "batch with variation": {"batch_size": 2, **variation},
        "largest": {"seed": 2**53 - 1},
        "variation": variation,
        "variation of DPM++ SDE": {**variation, "sampler_name": _SDE},
        "whole variation": {**variation, "subseed_strength": 1},
        "resized": {"seed_resize_from_w": 192, "seed_resize_from_h": 96},
        "resized variation": {"seed_resize_from_w": 64, "seed_resize_from_h": 192, **variation},
        "wide": {"width": 192, "height": 96},
    }
    yield from table("seed", "txt2img", rows)
    again = some(rows, "count 2", "two batches of Euler a", "batch of DPM++ SDE", "batch with variation", "resized")
    for task in ("img2img", "inpaint", "depth", "hires"):
        yield from table("seed", task, again)


def hires(names: Names) -> Iterator[Case]:
    """The second pass: every upscaler, and what it can have of its own."""
    rows: dict[str, Fields] = {
        **{f"upscaler {name}": {"hr_upscaler": name} for name in (*names.upscalers, *names.latent_modes)},
        **{f"schedule {name}": {"hr_scheduler": name, "steps": 4} for name in names.schedules},
        **{f"checkpoint {name}": {"hr_checkpoint_name": f"{name}.safetensors"} for name in CHECKPOINTS},
        **{f"strength {share}": {"denoising_strength": share} for share in (0, 0.3, 1)},
        "prompts": {"hr_prompt": "mountains (at:1.2) [night|sunset]", "hr_negative_prompt": "red"},
        "edit": {"prompt": "a [red:green:1.5] circle", "hr_prompt": "a [red:blue:1.25] circle"},
        "steps": {"hr_second_pass_steps": 4},
        "to width": {"hr_resize_x": 176},
        "to height": {"hr_resize_y": 176},
        "cut": {"hr_resize_x": 208, "hr_resize_y": 160},
        "cut, Lanczos": {"hr_resize_x": 160, "hr_resize_y": 208, "hr_upscaler": "Lanczos"},
        "extra noise": options(img2img_extra_noise=0.2),
        "noise multiplier": options(initial_noise_multiplier=0.9),
        "fix steps": options(img2img_fix_steps=True),
        "first pass": {"firstphase_width": 96, "firstphase_height": 96},
    }
    yield from table("hires", "hires", rows)


def repainting(names: Names) -> Iterator[Case]:
    """Image to image: sizes, strengths and its options; depth."""
    del names
    rows: dict[str, Fields] = {
        **{f"strength {share}": {"denoising_strength": share} for share in (0, 0.15, 0.3, 1)},
        **{f"resize mode {mode}": {"resize_mode": mode, "init_images": ["@small"]} for mode in range(4)},
        **{f"resize mode {mode}, wide": {"resize_mode": mode, "init_images": ["@wide"]} for mode in range(3)},
        "color correction": options(img2img_color_correction=True),
        "fix steps": {"denoising_strength": 0.4, **options(img2img_fix_steps=True)},
        "fix steps DDIM": {"denoising_strength": 0.4, **with_sampler("DDIM", img2img_fix_steps=True)},
        "extra noise": options(img2img_extra_noise=0.3),
        "extra noise Euler a": with_sampler(_ANCESTRAL, img2img_extra_noise=0.3),
        "noise multiplier": options(initial_noise_multiplier=0.8),
        "noise multiplier field": {"initial_noise_multiplier": 1.2},
        "transparent": {"init_images": ["@transparent"]},
        "odd size": {"width": 131, "height": 125},
        "two images": {"init_images": ["@wide", "@picture"]},
    }
    for task, checkpoint in (("img2img", "demo"), ("img2img", "demo-v2"), ("inpaint", "demo")):
        yield from table("repaint", task, rows, checkpoint)
    depths: dict[str, Fields] = {
        **some(rows, "strength 0", "strength 0.3", "strength 1", "fix steps", "color correction", "extra noise"),
        "wide": {"init_images": ["@wide"]},
        "own map": {"depth_map": "@depth"},
        "own map, wide": {"depth_map": "@depth", "init_images": ["@wide"]},
        "levels": {"depth_contrast": 2, "depth_near": 0.9, "depth_far": 0.2},
        "levels of an own map": {"depth_map": "@depth", "depth_contrast": 0.5, "depth_far": 0.3},
        "inverted": {"depth_invert": True},
    }
    yield from table("depth", "depth", depths)
    yield case("depth", "depth", depths["own map"], "demo", "own map")


def masks(names: Names) -> Iterator[Case]:
    """Inpainting and outpainting, with an ordinary and an inpainting checkpoint; soft inpainting."""
    del names
    whole: Fields = {"inpaint_full_res": True}
    small: Fields = {"init_images": ["@small"], "mask": "@small mask"}
    wide: Fields = {"init_images": ["@wide"], "mask": "@wide mask"}
    rows: dict[str, Fields] = {
        **{f"fill {fill}": {"inpainting_fill": fill} for fill in range(4)},
        **{f"fill {fill}, only masked": {"inpainting_fill": fill, **whole} for fill in range(4)},
        **{f"blur {blur}": {"mask_blur": blur} for blur in (0, 1, 16)},
        **{f"resize mode {mode}": {"resize_mode": mode, **small} for mode in range(4)},
        "blur by side": {"mask_blur_x": 2, "mask_blur_y": 20},
        "padding 16": {"inpaint_full_res_padding": 16, **whole},
        "padding 16, wide": {"inpaint_full_res_padding": 16, **whole, **wide},
        "color correction, only masked": {**whole, **options(img2img_color_correction=True)},
        "inverted": {"inpainting_mask_invert": 1},
        "inverted, only masked": {"inpainting_mask_invert": 1, **whole},
        "grey mask": {"mask": "@grey mask"},
        "not rounded": {"mask": "@grey mask", "mask_round": False},
        "latent mask": {"latent_mask": "@wide mask"},
        "no mask weight": options(inpainting_mask_weight=0),
        "half mask weight": options(inpainting_mask_weight=0.5),
        "empty mask": {"mask": "@black"},
        "outpaint": {"mask": None, "outpaint_left": 40, "outpaint_top": 16},
        "outpaint with a mask": {"outpaint_right": 32, "outpaint_bottom": 24, "inpainting_fill": 0},
        "outpaint, only masked": {"mask": None, "outpaint_left": 40, **whole},
        "outpaint, latent nothing": {"mask": None, "outpaint_bottom": 48, "inpainting_fill": 3},
    }
    yield from table("mask", "inpaint", rows)
    yield from table("mask", "inpaint", rows, "demo-inpainting")
    soft: dict[str, Fields] = {
        "bias": soft_inpainting(0.3, 0.5, 4, 0, 0.5, 2),
        "preservation": soft_inpainting(1, 4, 4, 0, 0.5, 2),
        "contrast boost": soft_inpainting(1, 0.5, 12, 0, 0.5, 2),
        "mask influence": soft_inpainting(1, 0.5, 4, 0.7, 0.5, 2),
        "difference": soft_inpainting(1, 0.5, 4, 0, 1.5, 6),
        "by fields": {"alwayson_scripts": {}, "soft_inpainting_enabled": True, "soft_inpainting_mask_influence": 0.7},
        "only masked": {"mask_blur": 4, "inpaint_full_res_padding": 8, **whole},
        **some(rows, "fill 1", "fill 2", "grey mask", "inverted", "outpaint"),
    }
    yield from table("mask", "soft inpainting", soft)
    yield from table("mask", "soft inpainting", some(rows, "grey mask"), "demo-inpainting")


def extras(names: Names) -> Iterator[Case]:
    """Finished images made larger."""
    to_a_size = {"resize_mode": 1, "upscaling_resize_w": 200, "upscaling_resize_h": 300}
    rows: dict[str, Fields] = {
        **{f"{name} by 1.5": {"upscaler_1": name, "upscaling_resize": 1.5} for name in names.upscalers},
        **{f"{name} to a size": {"upscaler_1": name, **to_a_size} for name in names.upscalers},
        "to cover a size": {"upscaler_1": "Lanczos", **to_a_size, "upscaling_crop": False},
        "mixed": {"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.4},
        "unknown upscaler": {"upscaler_1": "Nobody"},
        "faces": {"upscaler_1": "Lanczos", "gfpgan_visibility": 0.5},
    }
    for name, fields in rows.items():
        yield Case(f"extras/{name}", f"{API}/extra-single-image", {"image": "@wide", **fields}, "image")
    several = [{"data": "@wide", "name": "a"}, {"data": "@picture", "name": "b"}]
    yield Case("extras/several", f"{API}/extra-batch-images", {"imageList": several, "upscaler_1": "Lanczos"})


def infotexts(names: Names) -> Iterator[Case]:
    """What is read from infotexts and images, and what an answer and a file hold in addition to pixels."""
    del names
    for task in TASKS:
        made = case("answer", task, with_sampler(_ANCESTRAL, eta_noise_seed_delta=9))
        yield dataclasses.replace(made, reads="answer")
        yield Case(f"png-info/{task}", f"{API}/png-info", {"image": "@made"}, "json", made)
    for name, text in INFOTEXTS.items():
        yield Case(f"png-info/{name}", f"{API}/png-info", {"image": f"@infotext {name}"}, "json")
        yield Case(f"infotext/{name}", f"{API}/txt2img", {"infotext": text})
    yield case("saved with a grid", "txt2img", {"n_iter": 3, "save_images": True})


def spellings(names: Names) -> Iterator[Case]:
    """Names of old, and what is no request."""
    del names
    rows: dict[str, Fields] = {
        "sampler with schedule": {"sampler_name": "DPM++ 2M Karras"},
        "sampler's alias": {"sampler_name": "k_euler_a"},
        "sampler_index": {"sampler_name": "", "sampler_index": "Heun"},
        "schedule's name": {"scheduler": "karras"},
        "unknown sampler": {"sampler_name": "Eulr"},
        "unknown schedule": {"scheduler": "Caras"},
        "unknown checkpoint": options(sd_model_checkpoint="dem"),
        "unknown option": options(emphasiss="None"),
        "unknown field": {"promt": "x"},
        "option out of range": options(s_noise=5),
        "option of the server": options(sd_checkpoints_limit=2),
        "size": {"width": 100},
        "steps": {"steps": 0},
        "seed": {"seed": 2**53},
        "text for a number": {"cfg_scale": "much"},
    }
    yield from table("request", "txt2img", rows)
    images: dict[str, Fields] = {
        "no image": {"init_images": []},
        "no base64": {"init_images": ["?"]},
        "web address": {"init_images": ["http://127.0.0.1/x.png"]},
        "small strength": {"sampler_name": "DDIM", "denoising_strength": 0.01},
    }
    yield from table("request", "img2img", images)


# fmt: on

GROUPS: tuple[Callable[[Names], Iterator[Case]], ...] = (
    *(samplers, schedules, checkpoints, prompts, prompt_options, guidance, noise, sampling),
    *(seeds, hires, repainting, masks, extras, infotexts, spellings),
)


def all_cases(names: Names) -> list[Case]:
    """Return every case; lists come first, while nothing has been made yet, then cases by checkpoint."""
    listed = [Case(f"json{route}", route, reads="json") for route in names.routes]
    cases = [case for group in GROUPS for case in group(names)]
    return listed + sorted(cases, key=lambda one: one.checkpoint)
