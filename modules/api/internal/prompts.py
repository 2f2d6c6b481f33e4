"""Routes of a form's prompts: token counts, infotexts, and styles."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.page.form_filling import fill_from_image, fill_from_text
from modules.engine.page.prompts import Prompts, count_prompt_tokens, style_prompts
from modules.engine.page.uploads import make_upload_store
from modules.prompt.styles import Style

_Name = Field("", max_length=1000)


class PromptValues(BaseModel):
    """The prompts of a form."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: tuple[str, ...] = ()

    def to_prompts(self) -> Prompts:
        """Return them as the engine takes them."""
        return Prompts(self.prompt, self.negative_prompt, self.styles)


class CountedPrompts(PromptValues):
    """Prompts with the number of steps, which prompt editing depends on."""

    steps: int = 20


class StyleValues(BaseModel):
    """A style as the editor has it."""

    name: str = _Name
    prompt: str = ""
    negative_prompt: str = ""

    def to_style(self) -> Style:
        """Return it as it is stored."""
        return Style(self.name.strip(), self.prompt, self.negative_prompt)


class StyledPrompts(PromptValues):
    """Prompts and a style that need not be saved."""

    unsaved: StyleValues | None = None


class InfotextSource(BaseModel):
    """An infotext for a form.

    Args:
        task: The form's row of TASKS.
        text: The infotext; the last image's if it is empty.
        upload: The id of an uploaded image, which is read instead.
        controls: Settings that the form has a control for.
    """

    task: str = Field(max_length=200)
    text: str = ""
    upload: str = Field("", max_length=200)
    controls: tuple[str, ...] = ()


def prompts_router(engine: Engine) -> APIRouter:
    """Return the routes of the prompts, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)
    uploads = make_upload_store(engine)

    @router.post("/tokens")
    def tokens(body: CountedPrompts) -> dict[str, Any]:
        """Return the counts of both prompts, such as "12/75"."""
        return asdict(count_prompt_tokens(engine, body.to_prompts(), body.steps))

    @router.get("/wildcards")
    def wildcards() -> dict[str, Any]:
        """Return the names of all wildcards."""
        return {"names": engine.planner.wildcards.read().names()}

    @router.post("/infotext")
    def infotext(body: InfotextSource) -> dict[str, Any]:
        """Return what an infotext puts into a form: values, chips and messages."""
        known = [name for name in body.controls if name in type(engine.settings).model_fields]
        if body.upload:
            data = uploads.read(body.upload)
            return asdict(fill_from_image(engine, body.task, data, known))
        return asdict(fill_from_text(engine, body.task, body.text, known))

    _add_styles(router, engine)
    return router


def _add_styles(router: APIRouter, engine: Engine) -> None:
    @router.get("/styles")
    def styles() -> list[dict[str, Any]]:
        """Return all styles with their prompts."""
        return [asdict(style) for style in engine.styles.all()]

    @router.post("/styles")
    def save(body: StyleValues) -> dict[str, Any]:
        """Save a style, in place of the one of its name."""
        style = body.to_style()
        remark = engine.styles.save(style)
        return {"message": f"Saved the style '{style.name}'. {remark}".strip()}

    @router.post("/styles/delete")
    def delete(body: StyleValues) -> dict[str, Any]:
        name = body.to_style().name
        remark = engine.styles.delete(name)
        return {"message": f"Deleted the style '{name}'. {remark}".strip()}

    @router.post("/styles/apply")
    def apply(body: StyledPrompts) -> dict[str, Any]:
        """Return the prompts with the named styles applied to them, and then the one that is not saved."""
        chosen = [engine.styles.get(name) for name in body.styles]
        unsaved = [body.unsaved.to_style()] if body.unsaved else []
        return asdict(style_prompts(body.to_prompts(), [*chosen, *unsaved]))
