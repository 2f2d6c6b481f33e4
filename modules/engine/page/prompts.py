"""What the page shows next to the prompts of a form: their token counts, and what styles make of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.models.networks.network_kinds import LORA, LORA_TAGS
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.plan.drawn_prompts import describe_templates, read_templates
from modules.plan.networks.loras import LoraUse
from modules.plan.prompts import apply_styles
from modules.prompt.chunks import Chunker, TokenCount
from modules.prompt.embeddings import NO_EMBEDDINGS, EmbeddingWords
from modules.prompt.extra_networks import extract_networks
from modules.prompt.schedule import StepTimeline
from modules.prompt.styles import Style, apply_style
from modules.prompt.sub_prompts import count_tokens, parse_negative_prompt, parse_prompt

_NO_TOKENS = "0/75"


@dataclass(frozen=True)
class Prompts:
    """The prompts of a form, with the names of the styles that will be applied to them."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptCounts:
    """The token count of the longest encoded text and the limit of its chunks, such as "12/75"; "?" if it is not known.

    Args:
        prompt: Of the prompt; of one that is a template, that of one prompt that can be drawn.
        negative_prompt: Likewise of the negative prompt.
        drawn: What a user should know of templates, "" without any.
    """

    prompt: str
    negative_prompt: str
    drawn: str = ""


def count_prompt_tokens(engine: Engine, prompts: Prompts, steps: int) -> PromptCounts:
    """Return the counts of both prompts, as they will be encoded: with styles, without comments and extra networks.

    Args:
        engine: Has the styles, the tokenizer and the settings.
        prompts: The prompts as they were typed.
        steps: Of prompt editing, only what these steps reach counts.
    """
    if prompts == Prompts():
        return PromptCounts(_NO_TOKENS, _NO_TOKENS)  # does not load the vocabulary
    try:
        styles = [engine.styles.get(name) for name in prompts.styles]
        fields = {
            "prompt": prompts.prompt,
            "negative_prompt": prompts.negative_prompt,
            "steps": steps,
        }
        request = apply_styles(validate(GenerationRequest, fields), styles, engine.settings)
    except WebUIError:
        return PromptCounts("?", "?")  # Generate reports the error
    drawn = ""
    if engine.settings.dynamic_prompts:
        templates = read_templates(request, engine.planner.wildcards)
        drawn = describe_templates(templates, engine.planner.wildcards)
        request = request.replace(**{k: one.text for k, one in templates.draw(0).items()})
    timeline = StepTimeline(request.steps)
    words = _embedding_words(engine, request.prompt)
    chunker = Chunker.from_settings(engine.tokenizer, engine.settings, words=words)
    negative = (parse_negative_prompt(request.negative_prompt, timeline),)
    return PromptCounts(
        _format(count_tokens(parse_prompt(request.prompt, timeline), chunker)),
        _format(count_tokens(negative, chunker)),
        drawn,
    )


def _embedding_words(engine: Engine, prompt: str) -> EmbeddingWords:
    """Return the names of embeddings that the chosen checkpoint can use, with those in the LoRAs of a prompt."""
    try:
        checkpoint = engine.find_checkpoint()
    except WebUIError:
        return NO_EMBEDDINGS
    networks = engine.models.networks
    tags = [tag for tag in extract_networks(prompt)[1] if tag.kind in LORA_TAGS]
    files = ((tag.name, networks.means(LORA, tag.name)) for tag in tags)
    loras = [LoraUse(name, file) for name, file in files if file is not None]
    return engine.planner.vocabulary.words(checkpoint, loras)


def _format(count: TokenCount) -> str:
    return f"{count.tokens}/{count.limit}"


def style_prompts(prompts: Prompts, styles: Iterable[Style]) -> Prompts:
    """Return the prompts with the styles applied to them, one after another, and none left to apply."""
    prompt, negative_prompt = prompts.prompt, prompts.negative_prompt
    for style in styles:
        prompt = apply_style(prompt, style.prompt)
        negative_prompt = apply_style(negative_prompt, style.negative_prompt)
    return Prompts(prompt, negative_prompt)
