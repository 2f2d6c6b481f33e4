"""The reverse half of the Diffusion process tab: noise becomes a picture, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.engine.reproduce import rerun_image
from modules.images.animation import available_formats
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import Recording
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.ui.forms.form import Form, coerce_integers
from modules.ui.forms.panel import OutputPanel
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, frame_files, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation

_POLL_S = 0.3
_FIGURE_COUNT = 10  # all outputs but the sentence and the running jobs


@dataclass(frozen=True)
class Figures:
    """What the half shows of a run."""

    message: gr.HTML
    step: gr.Slider
    caption: gr.HTML
    views: dict[str, gr.Image]
    distances: gr.Plot
    schedules: gr.Plot
    histogram: gr.Plot
    frames: gr.State

    @property
    def outputs(self) -> list[Component]:
        """Return all of them in order."""
        return [
            self.message, self.step, self.caption, *self.views.values(), self.distances, self.schedules,
            self.histogram, self.frames,
        ]  # fmt: skip


@dataclass(frozen=True)
class ReversePanel:
    """The half, for what fills it from elsewhere."""

    figures: Figures
    running_jobs: gr.State  # names of the jobs on their way

    @property
    def outputs(self) -> list[Component]:
        """Return what `follow` yields values for."""
        return [*self.figures.outputs, self.running_jobs]


def build_reverse(engine: Engine, form: Form) -> ReversePanel:
    """Make the half where the page stands.

    Args:
        engine: Carries out what is asked.
        form: Empty yet.
    """
    with gr.Row(elem_classes="process"):
        with gr.Column(min_width=300):
            form.add_field("prompt")
            form.add_field("negative_prompt")
            with gr.Row():
                form.add_field("sampler_name", min_width=140)
                form.add_field("scheduler", min_width=140)
            other = gr.Dropdown(
                [("None", ""), *engine.choices("samplers")],
                value="",
                label="Beside it, another sampler",
                elem_id="process_other_sampler",
            )
            form.add_field("steps")
            form.add_field("cfg_scale")
            with gr.Row():
                form.add_field("width", min_width=140)
                form.add_field("height", min_width=140)
            form.add_field("seed")
            with gr.Row():
                show = gr.Button(
                    "Show the reverse process", variant="primary", elem_id="process_reverse"
                )
                stop = gr.Button("Interrupt", variant="stop", elem_id="process_interrupt")
        with gr.Column(min_width=300):
            message = gr.HTML("", elem_id="process_reverse_message", padding=False)
            build_explanation(explanations.REVERSE)
            views = _build_views(message)
    figures = _build_plots(views)
    reverse = ReversePanel(figures, gr.State(()))
    show.click(
        _shower(engine, form, other, figures.frames),
        inputs={*form.components.values(), other, figures.frames},
        outputs=reverse.outputs,
        concurrency_limit=1,
        **PRIVATE_EVENT,
    )
    stop.click(_interrupter(engine), reverse.running_jobs, None, **PRIVATE_EVENT)
    return reverse


def connect_show_process(
    engine: Engine, panel: OutputPanel, reverse: ReversePanel, picture: gr.Image
) -> None:
    """Have the button under a tab's pictures show here how the one that is looked at was made.

    Args:
        engine: Makes it again.
        panel: The tab's output side.
        reverse: Where it is shown.
        picture: The forward half's, which gets the finished picture.
    """

    def show(job_id: str, selected: int, shown: frame_files.Frames | None) -> Iterator[Any]:
        try:
            job = rerun_image(engine.queue, job_id, selected)
        except WebUIError as error:
            yield _said("error", str(error))
            return
        yield from follow_jobs(engine, {job.plan.sampler.name: job}, shown)

    panel.show_process.click(
        None,
        js="() => { webui.open('Diffusion process'); webui.open('Reverse: noise to picture'); }",
    )
    panel.show_process.click(
        lambda images, index: str(images[index].path) if index < len(images) else gr.skip(),
        [panel.images, panel.selected_index],
        picture,
        **PRIVATE_EVENT,
    )
    panel.show_process.click(
        show,
        [panel.job_id, panel.selected_index, reverse.figures.frames],
        reverse.outputs,
        js=f"(id, selected, frames) => [webui.job('{panel.prefix}'), selected, frames]",
        concurrency_limit=1,
        **PRIVATE_EVENT,
    )


def _interrupter(engine: Engine) -> Callable[[tuple[str, ...]], None]:
    def interrupt(ids: tuple[str, ...]) -> None:
        for one in ids:
            engine.interrupt(one)

    return interrupt


@dataclass(frozen=True)
class _Views:
    message: gr.HTML
    step: gr.Slider
    caption: gr.HTML
    images: dict[str, gr.Image]
    frames: gr.State


def _build_views(message: gr.HTML) -> _Views:
    step = gr.Slider(
        1, 2, value=1, step=1, label="Step", elem_id="process_step", interactive=True, buttons=[]
    )
    caption = gr.HTML("", elem_id="process_caption", padding=False)
    pictures: dict[str, gr.Image] = {}
    names = list(frame_files.VIEWS.items())
    for pair in (names[:2], names[2:]):
        with gr.Row(elem_classes="views"):
            for view, label in pair:
                pictures[view] = gr.Image(
                    label=label,
                    interactive=False,
                    min_width=140,
                    buttons=["fullscreen"],
                    elem_id=f"process_view_{view}",
                )
    frames = gr.State(
        None,
        time_to_live=frame_files.LIFETIME_S,
        delete_callback=frame_files.delete_frames,
    )
    _build_saver(frames, message)
    step.input(
        _look,
        [step, frames],
        [caption, *pictures.values()],
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )
    return _Views(message, step, caption, pictures, frames)


def _build_plots(views: _Views) -> Figures:
    plots_by_name: list[gr.Plot] = []
    rows = (
        ("distances", explanations.DISTANCES),
        ("schedules", explanations.SCHEDULES),
        ("histogram", explanations.HISTOGRAM),
    )
    with gr.Row():
        for name, words in rows:
            with gr.Column(min_width=300):
                build_explanation(words)
                plots_by_name.append(gr.Plot(show_label=False, elem_id=f"process_{name}"))
    distances, schedules, histogram = plots_by_name
    return Figures(
        views.message, views.step, views.caption, views.images, distances, schedules, histogram,
        views.frames,
    )  # fmt: skip


def _build_saver(frames: gr.State, message: gr.HTML) -> None:
    with gr.Row():
        what = gr.Dropdown(
            list(frame_files.ANIMATED_VIEWS), label="Animation of the", min_width=140
        )
        kind = gr.Dropdown(
            available_formats(), label="Format", min_width=100, elem_id="process_format"
        )
        save = gr.Button("Make the animation", elem_id="process_animate", min_width=140)
    file = gr.File(label="Animation", interactive=False, visible=False, elem_id="process_animation")

    def animate(kept: frame_files.Frames | None, view: str, name: str) -> tuple[Any, Any]:
        if kept is None:
            return notice("error", "There is nothing to save yet. Press Show first."), gr.skip()
        try:
            path = kept.save_animation(frame_files.ANIMATED_VIEWS[view], name)
        except WebUIError as error:
            return notice("error", str(error)), gr.skip()
        return "", gr.File(value=str(path), visible=True)

    save.click(animate, [frames, what, kind], [message, file], **PRIVATE_EVENT)


def _look(step: float, kept: frame_files.Frames | None) -> tuple[Any, ...]:
    """Return caption and pictures of a step, counted from 1."""
    if kept is None:
        return ("", *[None] * len(frame_files.VIEWS))
    number = max(0, min(int(step), kept.count) - 1)
    caption = f'<p class="numbers">{kept.captions[number]}</p>'
    return (caption, *[kept.path(number, view) for view in frame_files.VIEWS])


def _shower(
    engine: Engine, form: Form, other: Component, frames: gr.State
) -> Callable[..., Iterator[Any]]:
    def show(values: Mapping[Component, Any]) -> Iterator[Any]:
        try:
            request = validate(
                Txt2ImgRequest, coerce_integers(Txt2ImgRequest, form.read_non_image_fields(values))
            )
            jobs = submit_recorded(engine, request, values[other])
        except WebUIError as error:
            yield _said("error", str(error))
            return
        yield from follow_jobs(engine, jobs, values[frames])

    return show


def submit_recorded(engine: Engine, request: Txt2ImgRequest, other: str = "") -> dict[str, Job]:
    """Return recorded jobs by what the page calls them; the second differs by its sampler alone.

    Raises:
        WebUIError: one of them is refused.
    """
    alone = request.replace(n_iter=1, batch_size=1)
    first = engine.submit(alone, "page", with_recording=True)
    jobs = {first.plan.sampler.name: first}
    if other and other not in jobs:
        seeds = {"seed": first.plan.request.seed, "subseed": first.plan.request.subseed}
        jobs[other] = engine.submit(
            alone.replace(sampler_name=other, **seeds), "page", with_recording=True
        )
    return jobs


def follow_jobs(
    engine: Engine, jobs: Mapping[str, Job], shown: frame_files.Frames | None = None
) -> Iterator[Any]:
    """Yield what the page shows while the jobs run, and at the end their figures; until then what is drawn stays.

    Args:
        engine: Runs the jobs.
        jobs: By the names of their samplers.
        shown: The frames of the run that is shown until then; deleted once there are others.
    """
    ids = tuple(job.id for job in jobs.values())
    while not all(job.wait(_POLL_S) for job in jobs.values()):
        yield _said("note", _progress(list(jobs.values())), ids)
    recordings: dict[str, Recording] = {}
    for name, job in jobs.items():
        recording = job.take_recording()
        if recording is None:
            yield _said("error", job.status().error or "Nothing was recorded of this run.")
            return
        recordings[name] = recording
    figures = _figures(engine, jobs, recordings)
    frame_files.delete_frames(shown)
    yield figures


def _figures(
    engine: Engine, jobs: Mapping[str, Job], recordings: Mapping[str, Recording]
) -> tuple[Any, ...]:
    name, recording = next(iter(recordings.items()))
    plan = jobs[name].plan
    kept = frame_files.save_frames(recording, engine.paths.gradio_temp)
    last = kept.count
    runs = {other: one.steps for other, one in recordings.items()}
    return (
        "",
        gr.Slider(minimum=1, maximum=max(2, last), value=last),
        *_look(last, kept),
        plots.draw_distances(runs),
        plots.draw_schedules(_curves(engine, plan, recording), plan.schedule.name),
        plots.draw_noise_histogram(recording.initial_noise),
        kept,
        (),
    )


def _curves(engine: Engine, plan: Plan, recording: Recording) -> dict[str, list[float]]:
    """Return the sigmas of every schedule for the run's number of steps."""
    levels = ModelSigmas(1 / (1 + recording.model_sigmas**2))
    steps = plan.request.steps
    return {
        row.name: row.sigmas(steps, levels, plan.settings)
        for row in engine.schedules
        if row.sigmas is not None
    }


def _said(kind: Literal["note", "error"], text: str, ids: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """Return a sentence; all figures stay as they are."""
    return (notice(kind, text), *[gr.skip()] * _FIGURE_COUNT, ids)


def _progress(jobs: list[Job]) -> str:
    statuses = [job.status() for job in jobs]
    done = sum(status.progress.fraction for status in statuses) / len(statuses)
    phase = next((status.phase for status in statuses if not status.has_ended), "Drawing")
    return f"{phase}: {done:.0%}"
