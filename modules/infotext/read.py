"""Interprets an infotext: returns request fields, override settings and a report of what could not be applied."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modules.core.errors import NotFound, UserError, WebUIError
from modules.core.registry import Registry, did_you_mean
from modules.infotext.codecs import CODECS, Codec, Pairs, codecs_for, has_hires
from modules.infotext.control_lookup import find_control_models
from modules.infotext.foreign.a1111_history import Version, parse_version
from modules.infotext.foreign.dialects import (
    DIALECTS,
    Dialect,
    convert_to_a1111,
    describe_origin,
    detect_dialect,
)
from modules.infotext.foreign.ignored_keys import (
    INFORMATIONAL_KEYS,
    ignored_reason,
    is_informational,
)
from modules.infotext.foreign.json_formats import JSON_FORMATS, JsonFormat
from modules.infotext.model_lookup import find_checkpoint, find_vae, uses_external_vae
from modules.infotext.network_lookup import (
    KEYS_OF_TAGS,
    NetworkMatches,
    find_networks,
    missing_tags,
)
from modules.infotext.options import coerce_number, parse_setting_value
from modules.infotext.report import InfotextReport, UnappliedKey
from modules.infotext.spelling import describe_remaining_keys, spell_keys
from modules.infotext.text_format import Infotext
from modules.models.index import ModelIndex
from modules.models.upscaler_list import UpscalerList
from modules.models.vaes import NO_VAE
from modules.params.param import Param, params_of, validate
from modules.params.requests.base import GenerationRequest, round_sides
from modules.params.requests.tasks import TASKS, Task
from modules.params.settings import Settings
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# From this version on A1111 writes the key "VAE" whenever one is loaded.
_WRITES_VAE_SINCE: Version = (1, 6, 0, 0)
_PROMPTS = ("prompt", "hr_prompt")  # those in which extra networks count
UNITS = "control_units"
_INPAINT_MARKERS = ("Mask blur", "Mask mode", "Inpaint area")


@dataclass(frozen=True)
class InfotextContext:
    """The tables that resolve an infotext's names, and the current settings.

    Args:
        samplers: All samplers.
        schedules: All schedules.
        models: The installed model files.
        settings: The current options; an infotext's options become overrides where they differ.
        choices: Returns the choices of a field declared with `choices=name`.
        codecs: All codecs.
        dialects: All programs whose infotexts are read.
        json_formats: All formats of programs that write JSON; see `extract_infotext`.
        tasks: All tasks.
        upscalers: All upscalers, found by every name of theirs; without them by those of the list alone.
    """

    samplers: Registry[Sampler]
    schedules: Registry[Schedule]
    models: ModelIndex
    settings: Settings
    choices: Callable[[str], Collection[str]]
    codecs: Iterable[Codec] = CODECS
    dialects: Iterable[Dialect] = DIALECTS
    json_formats: Iterable[JsonFormat] = JSON_FORMATS
    tasks: Iterable[Task] = TASKS
    upscalers: UpscalerList | None = None


@dataclass(frozen=True)
class InfotextResult:
    """An interpreted infotext.

    Args:
        infotext: The infotext, converted to A1111's keys and names.
        request_class: The type of the request.
        values: Request fields that the infotext states or implies, each one valid by itself.
        override_settings: Options that the infotext states or implies, where they differ from the current settings.
        report: What could not be applied.
    """

    infotext: Infotext
    request_class: type[GenerationRequest]
    values: Mapping[str, Any]
    override_settings: Mapping[str, Any]
    report: InfotextReport

    @property
    def needs_init_image(self) -> bool:
        """Return whether the image was made from an init image, which no infotext contains."""
        pairs = self.infotext.pairs
        is_img2img = "Denoising strength" in pairs and not has_hires(pairs)
        return is_img2img or any(key in pairs for key in _INPAINT_MARKERS)

    def to_request(self) -> GenerationRequest:
        """Return the request; fields that the infotext does not set have the request class's defaults.

        Raises:
            UserError: the values are not valid in combination.
        """
        overrides = (
            {"override_settings": dict(self.override_settings)} if self.override_settings else {}
        )
        return validate(self.request_class, {**self.values, **overrides})


@dataclass
class _State:
    """State of one interpretation: the pairs and the values collected so far."""

    pairs: Pairs
    context: InfotextContext
    request_class: type[GenerationRequest]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])
    used_keys: set[str] = field(default_factory=set[str])
    unapplied: list[UnappliedKey] = field(default_factory=list[UnappliedKey])
    warnings: list[str] = field(default_factory=list[str])

    def set_field(self, name: str, value: Any, key: str) -> None:
        """Set a request field, or report why its value is not valid."""
        row = params_of(self.request_class)[name]
        try:
            number = coerce_number(self.request_class, name, value)
            resolved = _resolve_name(row, number, self.context)
            self.values[name] = getattr(validate(self.request_class, {name: resolved}), name)
        except WebUIError as error:
            self.report_unapplied(key, str(error))

    def report_unapplied(self, key: str, reason: str) -> None:
        """Report a key that cannot be applied."""
        self.unapplied.append(UnappliedKey(key, self.pairs.get(key, ""), reason))


def interpret_infotext(
    infotext: Infotext, context: InfotextContext, request_class: type[GenerationRequest]
) -> InfotextResult:
    """Return the request fields, override settings and report of an infotext.

    Args:
        infotext: From `parse_infotext`, or converted from another program's format.
        context: Resolves names.
        request_class: The request class to fill, such as the tab's.
    """
    infotext = replace(infotext, pairs=spell_keys(infotext.pairs, _known_keys(context)))
    dialect = detect_dialect(infotext, context.dialects)
    converted = convert_to_a1111(infotext, dialect, context.samplers, context.schedules)
    request_class = request_class.with_settings(type(context.settings))
    state = _State(converted.pairs, context, request_class)
    if converted.prompt or converted.pairs:
        state.values["prompt"] = converted.prompt
    if converted.pairs:  # without pairs the text is only a prompt and implies no other value
        state.values["negative_prompt"] = converted.negative_prompt
        state.values["styles"] = ()  # the prompts contain them already
        _read_fields(state)
        for codec in codecs_for(request_class.model_fields, context.codecs):
            _read_codec(state, codec)
        _read_settings(state)
    missing, differences = _read_model_files(state, infotext, dialect)
    networks = _read_networks(state)
    missing += [*networks.missing, *_read_control_models(state)]
    differences += networks.differences
    # Where the pairs were found whole, what else is in a prompt belongs to it.
    remaining = [] if "Steps" in converted.pairs else describe_remaining_keys(converted)
    unknown = _collect_unused_keys(state)
    report = InfotextReport(
        describe_origin(infotext, dialect),
        tuple(unknown),
        tuple(state.unapplied),
        tuple(missing),
        (*converted.warnings, *state.warnings, *remaining, *differences),
    )
    return InfotextResult(converted, request_class, state.values, state.overrides, report)


def _task_keys(context: InfotextContext) -> set[str]:
    """Return the keys of all tasks' fields."""
    keys = {key for codec in context.codecs for key in codec.all_keys}
    fields = (row for task in context.tasks for row in params_of(task.request).values())
    return keys | {row.infotext for row in fields if row.infotext}


def _known_keys(context: InfotextContext) -> Iterable[str]:
    """Return all keys that have a meaning here; where two differ in case, A1111's comes first."""
    settings = params_of(type(context.settings)).values()
    own = _task_keys(context) | {row.infotext for row in settings if row.infotext}
    aliases = (key for dialect in context.dialects for key in dialect.key_aliases)
    return (*own, *INFORMATIONAL_KEYS, *aliases)


def _read_fields(state: _State) -> None:
    """Read the fields with a single key; a field whose key may be omitted gets its default without it."""
    fields = state.request_class.model_fields
    codecs = codecs_for(fields, state.context.codecs)
    codec_fields = {name for codec in codecs for name in codec.fields}
    for name, row in params_of(state.request_class).items():
        if row.infotext is None or name in codec_fields:
            continue
        if row.infotext in state.pairs:
            state.used_keys.add(row.infotext)
            state.set_field(name, state.pairs[row.infotext], row.infotext)
        elif row.may_be_omitted:
            state.values[name] = fields[name].default


def _read_codec(state: _State, codec: Codec) -> None:
    keys = codec.keys_in(state.pairs)
    state.used_keys.update(keys)
    try:
        values = codec.read(state.pairs)
    except ValueError as error:
        for key in keys:
            state.report_unapplied(key, str(error))
        return
    rows = params_of(state.request_class)
    values, rounding = round_sides(state.request_class, values)
    state.warnings.extend(rounding)
    for name, value in values.items():
        key = next((key for key in keys if state.pairs[key] == value), keys[0] if keys else "")
        state.set_field(name, value, rows[name].infotext or key)


def _read_settings(state: _State) -> None:
    """Read the options; one without its key has A1111's default, which equals ours."""
    settings_class = type(state.context.settings)
    for name, row in params_of(settings_class).items():
        if row.infotext is None:
            continue
        value = settings_class.model_fields[name].default
        if row.infotext in state.pairs:
            state.used_keys.add(row.infotext)
            try:
                value = parse_setting_value(name, state.pairs[row.infotext], settings_class)
            except UserError as error:
                state.report_unapplied(row.infotext, str(error))
                continue
        if value != getattr(state.context.settings, name):
            state.overrides[name] = value


def _read_model_files(
    state: _State, infotext: Infotext, dialect: Dialect
) -> tuple[list[str], list[str]]:
    """Read checkpoint and VAE; return sentences about missing files and about differences."""
    models = state.context.models
    matches = [find_checkpoint(state.pairs, models)]
    checkpoint_name = matches[0].name
    if checkpoint_name:
        state.values["sd_model_checkpoint"] = checkpoint_name
    if "VAE" in state.pairs:
        vae = find_vae(state.pairs["VAE"], models)
        matches.append(vae)
        if vae.name:
            state.values["sd_vae"] = vae.name
    elif checkpoint_name and _used_built_in_vae(infotext, dialect):
        checkpoint = models.find_checkpoint(checkpoint_name)
        if uses_external_vae(state.context.settings.sd_vae, checkpoint, models):
            state.values["sd_vae"] = NO_VAE
    missing = [match.missing for match in matches if match.missing]
    return missing, [match.differs for match in matches if match.differs]


def _read_networks(state: _State) -> NetworkMatches:
    """Name the networks of the prompts as their files are named here, and return what is missing."""
    if "prompt" in state.values:
        state.values["prompt"] += missing_tags(state.values["prompt"], state.pairs)
        state.used_keys.update(KEYS_OF_TAGS)
    prompts = {name: state.values[name] for name in _PROMPTS if state.values.get(name)}
    by_alias = state.context.settings.lora_preferred_name == "Alias from file"
    found = find_networks(prompts, state.pairs, state.context.models, by_alias)
    state.values.update(found.prompts)
    return found


def _read_control_models(state: _State) -> Sequence[str]:
    """Name the control models as their files are named here, and return what is missing."""
    found = find_control_models(state.values.get(UNITS, ()), state.context.models)
    if UNITS in state.values:
        state.values[UNITS] = found.units
    state.warnings.extend(found.remarks)
    return found.missing


def _used_built_in_vae(infotext: Infotext, dialect: Dialect) -> bool:
    """Return whether an infotext without the key "VAE" implies that the checkpoint's built-in VAE was used."""
    if dialect.name == "this WebUI":
        return True
    version = parse_version(infotext.pairs.get("Version", ""))
    return version is not None and version >= _WRITES_VAE_SINCE


def _collect_unused_keys(state: _State) -> list[UnappliedKey]:
    """Return the unknown keys, and report the known ones that have no effect."""
    other_tasks = _task_keys(state.context)
    unknown: list[UnappliedKey] = []
    for key, value in state.pairs.items():
        if key in state.used_keys or is_informational(key, value):
            continue
        reason = ignored_reason(key)
        if key in other_tasks:
            reason = f"{state.request_class().task} has no such field."
        if reason:
            state.report_unapplied(key, reason)
        else:
            unknown.append(UnappliedKey(key, value))
    return unknown


def _resolve_name(row: Param, value: Any, context: InfotextContext) -> Any:
    """Return a name as its table spells it; any other value is returned unchanged.

    Raises:
        NotFound: there is no such name.
    """
    if not value or not isinstance(value, str):
        return value
    if row.labels:
        return _label_index(value, row)
    if row.choices is None:
        return value
    if row.choices == "samplers":
        return context.samplers.get(value).name
    if row.choices == "schedules":
        return context.schedules.get(value).name
    if row.choices == "checkpoints":
        return context.models.find_checkpoint(value).name
    if context.upscalers is not None and row.choices in ("hires upscalers", "image upscalers"):
        return context.upscalers.find(value).name
    choices = context.choices(row.choices)
    for name in choices:
        if name.casefold() == value.casefold():
            return name
    raise NotFound(
        f"There is no {row.label.lower()} named '{value}'.", did_you_mean(value, choices)
    )


def _label_index(text: str, row: Param) -> int:
    """Return the index of a field's label."""
    for index, label in enumerate(row.labels):
        if label.casefold() == text.casefold():
            return index
    raise UserError(f"{row.label} is '{text}'.", did_you_mean(text, row.labels))
