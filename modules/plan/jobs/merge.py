"""MergePlan: a merge of checkpoints with its files, resolved and checked before anything is read or written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import StorageError, UserError
from modules.core.registry import Registry
from modules.core.text import escape
from modules.models.checkpoint import Checkpoint
from modules.models.families import Family
from modules.models.files.header import Header, read_header
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import CHECKPOINT, VAE, find_checkpoint_error
from modules.models.merging.layout import (
    MergeOptions,
    ResultLayout,
    VaeSource,
    check_ckpt_dtypes,
    lay_out_result,
)
from modules.models.merging.names import choose_path, clean_stem, make_stem
from modules.models.merging.recipes import RECIPES, Recipe
from modules.models.merging.sources import MergeSource
from modules.params.requests.merge import NO_VAE, MergeRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.networks.loras import LoraUse, plan_loras
from modules.plan.tables import PlanSources
from modules.prompt.extra_networks import extract_networks

LETTERS = "ABC"
_FIELDS = ("primary_model_name", "secondary_model_name", "tertiary_model_name")
# Left free on the disk in addition to the result.
_SPARE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class MergeInputs:
    """The headers of a merge's files, as they are now.

    Args:
        sources: A, and B and C as far as the recipe needs them.
        vae: The VAE that is baked in, if there is one.
    """

    sources: tuple[MergeSource, ...]
    vae: VaeSource | None

    @property
    def a(self) -> MergeSource:
        """Return the checkpoint that the others are merged into."""
        return self.sources[0]


@dataclass(frozen=True, kw_only=True)
class MergePlan(JobPlan):
    """A merge.

    Args:
        request: The request.
        recipe: How the result is made.
        files: A, and B and C as far as the recipe needs them.
        families: Of these files.
        a_config: The .yaml that describes A.
        copied_config: The .yaml that the result gets, None for none.
        vae: The VAE that is baked in.
        loras: The LoRAs that are baked in.
        folder: Of the result.
        metadata: What the user adds to the result's.
    """

    request: MergeRequest
    recipe: Recipe
    files: tuple[Checkpoint, ...]
    families: tuple[Family, ...]
    a_config: Path
    copied_config: Path | None
    vae: ModelFile | None
    loras: tuple[LoraUse, ...]
    folder: Path
    metadata: Mapping[str, str]

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Return the files that it reads."""
        vae = () if self.vae is None else (self.vae.path,)
        loras = (use.file.path for use in self.loras)
        return (*(file.path for file in self.files), *vae, *loras)

    @property
    def is_ckpt(self) -> bool:
        """Return whether the result is a pickle, which has no metadata."""
        return self.request.checkpoint_format == "ckpt"

    @property
    def changed_kinds(self) -> tuple[str, ...]:
        """Return that there is a new checkpoint afterwards."""
        return (CHECKPOINT,)

    def read_inputs(self) -> MergeInputs:
        """Read the headers of its files.

        Raises:
            NotFound: one is gone.
            BadFile: one is damaged.
        """
        sources = tuple(
            MergeSource(letter, file.name, family, read_header(file.path))
            for letter, file, family in zip(LETTERS, self.files, self.families, strict=False)
        )
        vae = self.vae and VaeSource(self.vae.name, read_header(self.vae.path))
        return MergeInputs(sources, vae)

    def lay_out(self, inputs: MergeInputs) -> ResultLayout:
        """Return the tensors of the result.

        Raises:
            UserError: the files cannot be merged.
        """
        options = MergeOptions(self.recipe, self.request.save_as_half, self.request.discard_weights)
        layout = lay_out_result(inputs.sources, options, inputs.vae)
        if self.is_ckpt:
            check_ckpt_dtypes(layout)
        return layout

    def choose_path(self, layout: ResultLayout) -> Path:
        """Return where the result is saved.

        Raises:
            UserError: the name that the user has chosen is taken or none.
        """
        custom = clean_stem(self.request.custom_name)
        if self.request.custom_name.strip() and not custom:
            raise UserError(
                f"'{self.request.custom_name}' cannot be the name of a file.",
                "Use letters and digits.",
            )
        stem = custom or clean_stem(
            make_stem(
                self.recipe,
                [file.model_name for file in self.files],
                self.request.multiplier,
                [use.name for use in self.loras],
            )
        )
        return choose_path(
            self.folder,
            stem,
            layout.extra_input,
            is_custom=bool(custom),
            suffix=f".{self.request.checkpoint_format}",
        )

    def make_metadata(self, inputs: MergeInputs) -> dict[str, str]:
        """Return the metadata of the result, without the recipe."""
        request, metadata = self.request, dict[str, str]()
        if request.save_metadata and request.copy_metadata_fields:
            for source in inputs.sources:
                metadata |= source.header.metadata
        return {**metadata, **self.metadata, "format": "pt"}

    def recipe_fields(self, layout: ResultLayout) -> dict[str, Any]:
        """Return what the recipe in the metadata names in addition to the checkpoints, by A1111's keys."""
        request = self.request
        fields: dict[str, Any] = {
            "interp_method": self.recipe.name,
            "multiplier": request.multiplier,
            "save_as_half": request.save_as_half,
            "custom_name": request.custom_name,
            "config_source": request.config_source,
            "bake_in_vae": request.bake_in_vae,
            "discard_weights": request.discard_weights,
            "is_inpainting": layout.extra_input == "inpaint",
            "is_instruct_pix2pix": layout.extra_input == "ip2p",
        }
        return fields | ({"loras": request.loras} if self.recipe.has_loras else {})


def plan_merge(request: MergeRequest, settings: Settings, sources: PlanSources) -> MergePlan:
    """Return the plan of a merge, without reading more than headers.

    Raises:
        UserError: the request names too few checkpoints, or those cannot be merged.
        NotFound: a name is unknown.
        BadFile: a file cannot be used.
        StorageError: there is too little space for the result.
    """
    plan = resolve_merge(request, settings, sources.models, sources.tables.recipes)
    layout = plan.lay_out(plan.read_inputs())
    check_free_space(plan.choose_path(layout), layout.size_bytes)
    return plan


def resolve_merge(
    request: MergeRequest,
    settings: Settings,
    models: ModelIndex,
    recipes: Registry[Recipe] = RECIPES,
) -> MergePlan:
    """Return the plan of a merge by the names in its request; its files are not opened.

    Raises:
        UserError: the request names too few checkpoints, or its metadata are no JSON.
        NotFound: a name is unknown.
        BadFile: a file cannot be used.
    """
    recipe = recipes.get(request.interp_method)
    files = tuple(_find_checkpoints(request, recipe, models))
    families = tuple(models.get_family(file) for file in files)
    loras, notes = _find_loras(request, recipe, models, families[0])
    return MergePlan(
        request=_with_resolved_names(request, recipe, files),
        settings=settings,
        notes=notes,
        recipe=recipe,
        files=files,
        families=families,
        a_config=models.find_config(files[0]),
        copied_config=_find_copied_config(request, files),
        vae=_find_vae(request, models),
        loras=loras,
        folder=models.folders(CHECKPOINT)[0],
        metadata=_read_metadata_json(request.metadata_json) if request.save_metadata else {},
    )


def find_result_error(layout: ResultLayout, models: ModelIndex) -> str:
    """Return why the result cannot be used as a checkpoint, as the rest of a sentence, or ""."""
    header = Header(layout.infos, {}, "safetensors")
    return find_checkpoint_error(header, models.detect(header))


def check_free_space(path: Path, size_bytes: int) -> None:
    """Check that a file fits on its disk.

    Raises:
        StorageError: it does not.
    """
    folder = next(parent for parent in path.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < size_bytes + _SPARE_BYTES:
        raise StorageError(
            f"'{path.name}' needs {size_bytes / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in '{path.parent}'.",
            "Free some disk space.",
        )


def _find_checkpoints(
    request: MergeRequest, recipe: Recipe, models: ModelIndex
) -> Sequence[Checkpoint]:
    names = [getattr(request, field).strip() for field in _FIELDS[: recipe.model_count]]
    for letter, name in zip(LETTERS, names, strict=False):
        if not name:
            raise UserError(
                f"{recipe.name} needs a checkpoint {letter}.", f"Choose the model {letter}."
            )
    return [models.find_checkpoint(name) for name in names]


def _with_resolved_names(
    request: MergeRequest, recipe: Recipe, files: Sequence[Checkpoint]
) -> MergeRequest:
    names = dict.fromkeys(_FIELDS, "")
    names |= {field: file.name for field, file in zip(_FIELDS, files, strict=False)}
    return request.replace(interp_method=recipe.name, **names)


def _find_loras(
    request: MergeRequest, recipe: Recipe, models: ModelIndex, family: Family
) -> tuple[tuple[LoraUse, ...], tuple[str, ...]]:
    if not recipe.has_loras:
        return (), ()
    rest, networks = extract_networks(request.loras)
    if rest.strip(" ,\n"):
        raise UserError(
            f"'{rest.strip()}' is no LoRA.", "Write each one as <lora:name:weight>, as in a prompt."
        )
    uses, notes = plan_loras(networks, models.networks, family)
    if len(uses) < len(networks):
        raise UserError(notes[0].replace("; the picture is made without it", ""))
    if not uses:
        raise UserError(
            f"{recipe.name} needs at least one LoRA.",
            "Write it as <lora:name:weight>, as in a prompt.",
        )
    return uses, notes


def _find_vae(request: MergeRequest, models: ModelIndex) -> ModelFile | None:
    name = request.bake_in_vae.strip()
    return None if name.casefold() in ("", NO_VAE.casefold()) else models.find(VAE, name)


def _find_copied_config(request: MergeRequest, files: Sequence[Checkpoint]) -> Path | None:
    chosen: Sequence[Sequence[Checkpoint]] = (files, files[1:2], files[2:3], ())
    configs = (file.config for file in chosen[request.config_source])
    return next((config for config in configs if config is not None), None)


def _read_metadata_json(text: str) -> dict[str, str]:
    try:
        value: object = json.loads(text.strip() or "{}")
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
        raise UserError(
            f"The metadata are no JSON: {why}.", 'Write them as {"key": "text"}.'
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            f"The metadata are {type(value).__name__}, not an object.",
            'Write them as {"key": "text"}.',
        )
    pairs = cast("dict[str, Any]", value)
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in pairs.items()}
    return {escape(key): escape(text) for key, text in texts.items()}
