"""Prompt and negative prompt of a tab with their token counters and styles, and the generate buttons."""

from __future__ import annotations

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.plan.prompts import apply_styles
from modules.prompt.chunks import Chunker
from modules.prompt.schedule import StepTimeline
from modules.prompt.sub_prompts import count_tokens, parse_negative_prompt, parse_prompt
from modules.ui.components.output import build_generate_buttons
from modules.ui.components.styles import build_styles
from modules.ui.forms.form import Form
from modules.ui.forms.panel import GenerateButtons
from modules.ui.gradio_events import PRIVATE_EVENT, change_event


def build_prompts(engine: Engine, form: Form) -> GenerateButtons:
    """Build the prompt boxes, the styles and the generate buttons in the current Gradio context."""
    with gr.Row(elem_classes="prompts"):
        with gr.Column(scale=6, min_width=280):
            _build_prompt(form, "prompt", "Prompt (Ctrl+Enter generates)")
            _build_prompt(
                form, "negative_prompt", "Negative prompt: what the picture should not show"
            )
            build_styles(engine, form)
        with gr.Column(scale=1, min_width=160):
            return build_generate_buttons(form.prefix)


def _build_prompt(form: Form, name: str, placeholder: str) -> None:
    with gr.Column(elem_classes="prompt"):
        form.add_field(name, placeholder=placeholder, show_label=False, container=False)
        form.token_counters[name] = gr.HTML(
            _counter_html(0, 75), elem_id=f"{form.prefix}_{name}_counter", padding=False
        )


def connect_token_counters(engine: Engine, form: Form) -> None:
    """Update the counters when a field changes that they depend on; all of these must exist already."""
    for name, counter in form.token_counters.items():
        sources = [form.components[field] for field in (name, "styles", "steps")]
        gr.on(
            [change_event(source) for source in sources],
            lambda text, styles, steps, name=name: count_prompt_tokens(
                engine, name, text, styles, steps
            ),
            inputs=sources,
            outputs=counter,
            trigger_mode="always_last",
            queue=False,
            preprocess=False,
            **PRIVATE_EVENT,
        )


def count_prompt_tokens(
    engine: Engine, name: str, text: str, styles: list[str], steps: float
) -> str:
    """Return the token count of the longest encoded text, and the limit of its chunks, as HTML."""
    if not text and not styles:
        return _counter_html(0, 75)  # does not load the vocabulary
    try:
        chosen_styles = [engine.styles.get(style) for style in styles or ()]
        request = validate(GenerationRequest, {name: text or "", "steps": int(steps or 1)})
        request = apply_styles(request, chosen_styles, engine.settings)
    except WebUIError:
        return '<span class="counter">?</span>'  # Generate reports the error
    timeline = StepTimeline(request.steps)
    if name == "prompt":
        sub_prompts = parse_prompt(request.prompt, timeline)
    else:
        sub_prompts = (parse_negative_prompt(request.negative_prompt, timeline),)
    tokens = count_tokens(sub_prompts, Chunker.from_settings(engine.tokenizer, engine.settings))
    return _counter_html(tokens.tokens, tokens.limit)


def _counter_html(tokens: int, limit: int) -> str:
    return f'<span class="counter">{tokens}/{limit}</span>'
