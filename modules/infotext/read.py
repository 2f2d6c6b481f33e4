"""An infotext to a request, and a report of how far it could be followed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from modules.core.errors import NotFound, UserError, WebUIError
from modules.core.registry import Registry, did_you_mean
from modules.infotext.codecs import CODECS, Codec, Pairs, codecs_for, has_hires
from modules.infotext.foreign.a1111_history import Version, parse_version
from modules.infotext.foreign.dialects import convert_to_a1111, describe_origin, detect_dialect
from modules.infotext.foreign.ignored_keys import ignored_reason, is_informational
from modules.infotext.model_lookup import FileMatch, find_checkpoint, find_vae, uses_external_vae
from modules.infotext.options import coerce_number, parse_setting_value
from modules.infotext.report import InfotextReport, UnappliedKey
from modules.infotext.text_format import Infotext
from modules.models.manager import ModelManager
from modules.models.vaes import NO_VAE
from modules.params.param import Param, params_of, validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# From here on A1111 names a VAE whenever there is one.
_NAMES_VAE: Version = (1, 6, 0, 0)
_REQUESTS = (Txt2ImgRequest, Img2ImgRequest, DepthRequest)
_MASK_SIGNS = ("Mask blur", "Mask mode", "Inpaint area")


@dataclass(frozen=True)
class InfotextContext:
    """What names can mean where an infotext is read.

    Args:
        samplers: The samplers' table.
        schedules: The schedules' table.
        models: The files that are there.
        settings: The options that hold now; an infotext's override them where they differ.
        choices: Returns what a field with `choices=name` offers.
    """

    samplers: Registry[Sampler]
    schedules: Registry[Schedule]
    models: ModelManager
    settings: Settings
    choices: Callable[[str], Collection[str]]


@dataclass(frozen=True)
class InfotextResult:
    """What an infotext asks for.

    Args:
        infotext: Its words, in A1111's.
        request_class: The type of the request.
        values: The request's fields that it tells or implies, valid each on its own.
        override_settings: Options that it tells or takes for granted, where those that hold now are others.
        report: How far it could be followed.
    """

    infotext: Infotext
    request_class: type[GenerationRequest]
    values: Mapping[str, Any]
    override_settings: Mapping[str, Any]
    report: InfotextReport

    @property
    def needs_init_image(self) -> bool:
        """Return whether the picture was made from another one, which no infotext holds."""
        pairs = self.infotext.pairs
        repainted = "Denoising strength" in pairs and not has_hires(pairs)
        return repainted or any(key in pairs for key in _MASK_SIGNS)

    def to_request(self) -> GenerationRequest:
        """Return the request; what the text leaves open is as the request's type has it.

        Raises:
            UserError: values that are valid each on its own are not together.
        """
        overrides = (
            {"override_settings": dict(self.override_settings)} if self.override_settings else {}
        )
        return validate(self.request_class, {**self.values, **overrides})


@dataclass
class _Work:
    """One reading on its way: what was found so far."""

    pairs: Pairs
    known: InfotextContext
    model: type[GenerationRequest]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    used: set[str] = field(default_factory=set[str])
    not_applied: list[UnappliedKey] = field(default_factory=list[UnappliedKey])

    def take(self, name: str, value: Any, key: str) -> None:
        """Set a field, or note why the value cannot be had."""
        row = params_of(self.model)[name]
        try:
            named = _named(row, coerce_number(self.model, name, value), self.known)
            self.values[name] = getattr(validate(self.model, {name: named}), name)
        except WebUIError as error:
            self.refuse(key, str(error))

    def refuse(self, key: str, reason: str) -> None:
        """Note a key that cannot be followed."""
        self.not_applied.append(UnappliedKey(key, self.pairs.get(key, ""), reason))


def interpret_infotext(
    infotext: Infotext, context: InfotextContext, request_class: type[GenerationRequest]
) -> InfotextResult:
    """Return what the words of an infotext ask for.

    Args:
        infotext: As `parse` or a translator of another form has them.
        context: What names can mean.
        request_class: The type of request that is wanted, such as that of the tab.
    """
    told = convert_to_a1111(infotext, context.samplers, context.schedules)
    work = _Work(told.pairs, context, request_class)
    if told.prompt or told.pairs:
        work.values["prompt"] = told.prompt
    if told.pairs:  # else the text is a prompt alone, and says nothing of anything else
        work.values["negative_prompt"] = told.negative_prompt
        work.values["styles"] = ()  # the prompts hold them already
        _read_plain(work)
        for row in codecs_for(request_class.model_fields):
            _read_codec(work, row)
        _read_settings(work)
    missing, differs = _read_files(work, infotext)
    unknown = _leftover(work, request_class)
    report = InfotextReport(
        describe_origin(infotext),
        tuple(unknown),
        tuple(work.not_applied),
        tuple(missing),
        (*told.warnings, *differs),
    )
    return InfotextResult(told, request_class, work.values, work.overrides, report)


def _read_plain(work: _Work) -> None:
    """Read the fields that have a key of their own; one that is written only at times has its default without."""
    together = {name for row in codecs_for(work.model.model_fields) for name in row.fields}
    for name, row in params_of(work.model).items():
        if row.infotext is None or name in together:
            continue
        if row.infotext in work.pairs:
            work.used.add(row.infotext)
            work.take(name, work.pairs[row.infotext], row.infotext)
        elif row.may_be_omitted:
            work.values[name] = work.model.model_fields[name].default


def _read_codec(work: _Work, row: Codec) -> None:
    told = row.keys_in(work.pairs)
    work.used.update(told)
    try:
        values = row.read(work.pairs)
    except ValueError as error:
        for key in told:
            work.refuse(key, str(error))
        return
    rows = params_of(work.model)
    for name, value in values.items():
        key = next((key for key in told if work.pairs[key] == value), told[0] if told else "")
        work.take(name, value, rows[name].infotext or key)


def _read_settings(work: _Work) -> None:
    """Read the options; one that is not told has A1111's default, which is ours, too."""
    for name, row in params_of(Settings).items():
        if row.infotext is None:
            continue
        value = Settings.model_fields[name].default
        if row.infotext in work.pairs:
            work.used.add(row.infotext)
            try:
                value = parse_setting_value(name, work.pairs[row.infotext])
            except UserError as error:
                work.refuse(row.infotext, str(error))
                continue
        if value != getattr(work.known.settings, name):
            work.overrides[name] = value


def _read_files(work: _Work, words: Infotext) -> tuple[list[str], list[str]]:
    """Read checkpoint and VAE; return what is missing and what differs."""
    models = work.known.models
    found = [find_checkpoint(work.pairs, models)]
    if found[0].name:
        work.values["sd_model_checkpoint"] = found[0].name
    if "VAE" in work.pairs:
        found.append(find_vae(work.pairs["VAE"], models))
        if found[1].name:
            work.values["sd_vae"] = found[1].name
    elif found[0].name and _has_no_vae(words):
        checkpoint = models.find(found[0].name)
        if uses_external_vae(work.known.settings.sd_vae, checkpoint, models):
            work.values["sd_vae"] = NO_VAE
    return _said(found, "missing"), _said(found, "differs")


def _said(found: list[FileMatch], name: str) -> list[str]:
    return [sentence for file in found if (sentence := getattr(file, name))]


def _has_no_vae(words: Infotext) -> bool:
    """Return whether a text that names no VAE says that there was none but the checkpoint's own."""
    if detect_dialect(words).name == "this WebUI":
        return True
    version = parse_version(words.pairs.get("Version", ""))
    return version is not None and version >= _NAMES_VAE


def _leftover(work: _Work, model: type[GenerationRequest]) -> list[UnappliedKey]:
    """Return the keys that nobody knows, and note those that are known and have no effect."""
    elsewhere = {key for row in CODECS for key in row.keys}
    elsewhere |= {
        row.infotext for one in _REQUESTS for row in params_of(one).values() if row.infotext
    }
    unknown: list[UnappliedKey] = []
    for key, value in work.pairs.items():
        if key in work.used or is_informational(key, value):
            continue
        reason = ignored_reason(key)
        if key in elsewhere:
            reason = f"{model().task} has no such field."
        if reason:
            work.refuse(key, reason)
        else:
            unknown.append(UnappliedKey(key, value))
    return unknown


def _named(row: Param, value: Any, known: InfotextContext) -> Any:
    """Return a name as the tables spell it, any other value as it is.

    Raises:
        NotFound: there is no such name.
    """
    if not value or not isinstance(value, str):
        return value
    if row.labels:
        return _place(value, row)
    if row.choices is None:
        return value
    if row.choices == "samplers":
        return known.samplers.get(value).name
    if row.choices == "schedules":
        return known.schedules.get(value).name
    if row.choices == "checkpoints":
        return known.models.find(value).name
    offered = known.choices(row.choices)
    for name in offered:
        if name.casefold() == value.casefold():
            return name
    raise NotFound(
        f"There is no {row.label.lower()} named '{value}'.", did_you_mean(value, offered)
    )


def _place(word: str, row: Param) -> int:
    """Return which of a field's words it is."""
    for place, known in enumerate(row.labels):
        if known.casefold() == word.casefold():
            return place
    raise UserError(f"{row.label} is '{word}'.", did_you_mean(word, row.labels))
