"""The reverse half of the Diffusion process tab: noise becomes an image, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from modules.core.errors import NotFound, WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_group import JobGroup
from modules.engine.reproduce import find_image_request, rerun_image
from modules.params.param import validate
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import Recording
from modules.scripts.compare_samplers import COMPARE_SAMPLERS
from modules.ui.components.size import DEFAULT_SIZE
from modules.ui.forms.form import Form, coerce_integers
from modules.ui.forms.panel import OutputPanel
from modules.ui.forms.paste import fill_form
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.tabs.diffusion_process import explanations
from modules.ui.tabs.diffusion_process.explanations import build_explanation
from modules.ui.tabs.diffusion_process.figures import (
    Figures,
    build_plots,
    render_figures,
    render_message,
)
from modules.ui.tabs.diffusion_process.viewer import build_viewer, busy_script, show_script

_POLL_S = 0.3
_LOST = "The server was restarted before the steps were shown. Show the process again."


@dataclass(frozen=True)
class ReversePanel:
    """The components that show a run and its jobs."""

    form: Form
    figures: Figures
    interrupt: gr.Button  # enabled while something runs
    running_jobs: gr.BrowserState  # ids of the running jobs; survives a reload and a restart

    @property
    def outputs(self) -> list[Component]:
        """Return the components that `follow_jobs` yields values for."""
        return [*self.figures.outputs, self.interrupt, self.running_jobs]


def build_reverse(engine: Engine, form: Form) -> ReversePanel:
    """Build the half in the current Gradio context.

    Args:
        engine: Runs the jobs.
        form: A txt2img form, still empty.
    """
    with gr.Row(elem_classes="process"):
        with gr.Column(min_width=300, scale=2):
            form.add_field("prompt")
            form.add_field("negative_prompt")
            with gr.Row():
                form.add_field("sampler_name", min_width=140)
                form.add_field("scheduler", min_width=140)
            other = gr.Dropdown(
                [("None", ""), *engine.choices("samplers")],
                value="",
                label="Compare with another sampler",
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
                stop = gr.Button(
                    "Interrupt", variant="stop", interactive=False, elem_id="process_interrupt"
                )
            message = gr.HTML("", elem_id="process_reverse_message", padding=False)
        with gr.Column(min_width=300, scale=5):
            process_id = build_viewer("reverse")
    build_explanation(explanations.REVERSE)
    running_jobs = gr.BrowserState(
        [], storage_key="webui-process-jobs", secret="webui", render=False
    )
    panel = ReversePanel(form, build_plots(message, process_id), stop, running_jobs)

    def interrupt(job_ids: list[str]) -> None:
        for job_id in job_ids:
            with contextlib.suppress(NotFound):  # it ended in an earlier run
                engine.interrupt(job_id)

    show.click(None, js=busy_script("reverse"))
    show.click(
        _show_handler(engine, form, other),
        inputs={*form.components.values(), other},
        outputs=panel.outputs,
        concurrency_limit=1,
        **PRIVATE_EVENT,
    ).then(None, process_id, js=show_script("reverse"))
    stop.click(interrupt, panel.running_jobs, None, **PRIVATE_EVENT)
    return panel


def connect_resume(engine: Engine, reverse: ReversePanel) -> None:
    """Have a loaded page follow what it followed before; call this outside the tabs, in the page's Gradio context."""
    page = Context.root_block
    assert page is not None

    kept_sizes = (gr.skip(), gr.skip())

    def follow_stored(job_ids: object) -> Iterator[Any]:
        side = engine.active_checkpoint.native_size() or DEFAULT_SIZE
        yield (*[gr.skip()] * len(reverse.outputs), side, side)
        for update in resume(engine, job_ids):
            yield (*update, *kept_sizes)

    reverse.running_jobs.render()  # Gradio reads a BrowserState only where it is in the page
    page.load(
        follow_stored,
        reverse.running_jobs,
        [*reverse.outputs, *(reverse.form.components[name] for name in ("width", "height"))],
        concurrency_limit=None,  # it may take as long as the jobs
        **PRIVATE_EVENT,
    ).then(None, reverse.figures.process_id, js=show_script("reverse"))


def connect_show_process(
    engine: Engine, panel: OutputPanel, reverse: ReversePanel, forward_image: gr.Image
) -> None:
    """Have the button under a tab's images run the selected image's job again and show its steps here.

    Args:
        engine: Runs the job.
        panel: The tab's output panel.
        reverse: Shows the steps.
        forward_image: The forward half's image box, which gets the selected image.
    """

    read_id = f"(id, selected) => [webui.job('{panel.prefix}'), selected]"
    job_and_index = [panel.job_id, panel.selected_index]

    def show(job_id: str, selected_index: int) -> Iterator[Any]:
        try:
            job = rerun_image(engine.queue, job_id, selected_index)
        except WebUIError as error:
            yield _message_update("error", str(error))
            return
        yield from follow_jobs(engine, {job.plan.sampler.name: job})

    def fill(job_id: str, selected_index: int) -> dict[Component, Any]:
        return fill_from_image(engine, reverse.form, job_id, selected_index)

    panel.show_process.click(
        None,
        js="() => { webui.open('Diffusion process'); webui.open('Reverse: noise to picture'); }",
    )
    panel.show_process.click(None, js=busy_script("reverse"))
    panel.show_process.click(
        fill, job_and_index, list(reverse.form.components.values()), js=read_id, **PRIVATE_EVENT
    )
    panel.show_process.click(
        lambda images, index: str(images[index].path) if index < len(images) else gr.skip(),
        [panel.images, panel.selected_index],
        forward_image,
        **PRIVATE_EVENT,
    )
    panel.show_process.click(
        show, job_and_index, reverse.outputs, js=read_id, concurrency_limit=1, **PRIVATE_EVENT
    ).then(None, reverse.figures.process_id, js=show_script("reverse"))


def fill_from_image(engine: Engine, form: Form, job_id: str, index: int) -> dict[Component, Any]:
    """Return the values of a form's components, by component, that show an image again; none for an unknown job.

    Args:
        engine: Source of the image's request.
        form: The form.
        job_id: The image's job.
        index: The image's index within the job, from 0.
    """
    try:
        request = find_image_request(engine.queue, job_id, index)
    except WebUIError:  # said beside the button
        return fill_form(form, {})
    return fill_form(form, {name: getattr(request, name) for name in form.components})


def _show_handler(
    engine: Engine, form: Form, other_sampler: Component
) -> Callable[..., Iterator[Any]]:
    def show(values: Mapping[Component, Any]) -> Iterator[Any]:
        try:
            request_type = Txt2ImgRequest.with_settings(type(engine.settings))
            request = validate(
                request_type, coerce_integers(request_type, form.read_non_image_fields(values))
            )
            group = start_comparison(engine, request, values[other_sampler])
        except WebUIError as error:
            yield _message_update("error", str(error))
            return
        yield from follow_comparison(engine, group)

    return show


def start_comparison(engine: Engine, request: Txt2ImgRequest, other_sampler: str = "") -> JobGroup:
    """Return the recorded jobs; the one of the other sampler differs only by its sampler.

    Raises:
        WebUIError: the request names no usable checkpoint.
    """
    args = {"other_sampler": other_sampler}
    return engine.run_script(COMPARE_SAMPLERS.name, request, args, "page")


def follow_comparison(engine: Engine, group: JobGroup) -> Iterator[Any]:
    """Yield values for `ReversePanel.outputs`: progress while the jobs run, which keeps the figures, then new figures.

    Args:
        engine: Runs the jobs.
        group: The recorded jobs.
    """
    while not group.wait(_POLL_S):
        yield _message_update("note", _progress(list(group.recorded_jobs.values())), (group.id,))
    status = group.status()
    if group.is_suspended:
        yield _message_update("note", status.error, (group.id,))
    elif group.errors or not group.recorded_jobs:
        yield _message_update("error", next(iter(group.errors), status.error))
    else:
        yield from follow_jobs(engine, group.recorded_jobs)


def resume(engine: Engine, job_ids: object) -> Iterator[Any]:
    """Yield values for `ReversePanel.outputs`, as `follow_comparison` does, for what the page followed before it was loaded.

    Args:
        engine: Runs the jobs.
        job_ids: What the browser has stored: the id of a comparison or of a recorded job, or nothing.
    """
    job_id = next(iter(job_ids), None) if isinstance(job_ids, list) else None
    if not isinstance(job_id, str):
        return
    try:
        job = engine.job(job_id)
    except NotFound:
        yield _message_update("note", _LOST)
        return
    if isinstance(job, JobGroup):
        yield from follow_comparison(engine, job)
    elif job.plan.record:
        yield from follow_jobs(engine, {job.plan.sampler.name: job})
    else:
        yield _message_update("note", _LOST)


def follow_jobs(engine: Engine, jobs: Mapping[str, Job]) -> Iterator[Any]:
    """Yield values for `ReversePanel.outputs`, as `follow_comparison` does.

    Args:
        engine: Runs the jobs.
        jobs: Recorded jobs by sampler name.
    """
    job_ids = tuple(job.id for job in jobs.values())
    while not all(job.wait(_POLL_S) for job in jobs.values()):
        yield _message_update("note", _progress(list(jobs.values())), job_ids)
    recordings: dict[str, Recording] = {}
    for name, job in jobs.items():
        recording = job.take_recording()
        if recording is None or (job.plan.hires is not None and recording.hires is None):
            yield _message_update("error", job.status().error or "Nothing was recorded.")
            return
        recordings[name] = recording
    figures = render_figures(engine, {name: job.plan for name, job in jobs.items()}, recordings)
    yield (*figures, gr.Button(interactive=False), ())


def _message_update(
    kind: Literal["note", "error"], text: str, running_jobs: tuple[str, ...] = ()
) -> tuple[Any, ...]:
    """Return values for `ReversePanel.outputs` that keep all figures."""
    interrupt = gr.Button(interactive=bool(running_jobs))
    return (*render_message(kind, text), interrupt, running_jobs)


def _progress(jobs: list[Job]) -> str:
    statuses = [job.status() for job in jobs]
    if not statuses:
        return "Waiting: 0%"
    fraction = sum(status.progress.fraction for status in statuses) / len(statuses)
    phase = next((status.phase for status in statuses if not status.has_ended), "Drawing")
    return f"{phase}: {fraction:.0%}"
