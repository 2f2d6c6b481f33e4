"""Routes of the page's cards of extra networks; networks are known by ids alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, cast

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from modules.api.image_files import CACHE_FOREVER, image_path
from modules.api.json_check import CheckedRouter
from modules.api.sdapi.loras import describe_metadata
from modules.core.errors import WebUIError
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.networks.cards import NetworkCard
from modules.engine.networks.last_use import IMAGES_READ, find_last_use, last_use_of
from modules.engine.networks.own_preview import save_preview
from modules.engine.networks.thumbnails import Thumbnails, picture_version
from modules.engine.networks.user_metadata import UserMetadata, write_user_metadata
from modules.models.files.header import read_header
from modules.models.networks.network_file import NetworkFile
from modules.models.networks.network_index import SHORT_HASH_LENGTH

_HASH_TIMEOUT_S = 20
_MAX_TEXT = 100_000
_MAX_WORDS = 60
_FAMILIES = {"SD1": "SD 1.x", "SD2": "SD 2.x", "SDXL": "SDXL"}  # A1111's names in notes
_TAGS, _TRIGGER = "ss_tag_frequency", "modelspec.trigger_phrase"


class Notes(BaseModel):
    """What a user notes about a network; see `UserMetadata`."""

    description: str = Field("", max_length=_MAX_TEXT)
    family: str = Field("", max_length=100)
    activation_text: str = Field("", max_length=_MAX_TEXT)
    preferred_weight: float = Field(0.0, ge=-10, le=10, allow_inf_nan=False)
    negative_text: str = Field("", max_length=_MAX_TEXT)
    notes: str = Field("", max_length=_MAX_TEXT)


class ChosenImage(BaseModel):
    """A finished image, by its id."""

    image: str


def networks_router(engine: Engine) -> APIRouter:
    """Return the routes below /internal/networks."""
    router = CheckedRouter(prefix="/internal/networks", include_in_schema=False)
    cards, thumbnails = engine.networks, Thumbnails(engine.paths.cache / "network-thumbnails")

    @router.get("")
    def overview() -> Response:
        default = engine.settings.extra_networks_default_multiplier
        used = find_last_use(
            engine.queue.store.latest_infotexts(IMAGES_READ),
            engine.queue.store.last_use_of_checkpoints(),
        )
        answer = {
            "kinds": [
                {"name": kind.name, "folder": _folder(engine, kind.name)} for kind in cards.kinds
            ],
            "cards": [
                {**_row(card, default), "used": last_use_of(card, used)} for card in cards.all()
            ],
        }
        return JSONResponse(answer)  # thousands of rows of plain values need no other conversion

    @router.post("/refresh")
    def refresh() -> Response:
        cards.refresh()
        return overview()

    @router.get("/{card_id}")
    def details(card_id: str) -> dict[str, Any]:
        card = cards.find(card_id)
        metadata = _metadata(card)
        return {
            **_row(card, engine.settings.extra_networks_default_multiplier),
            **asdict(card.notes),
            "path": card.file.shown_path,
            "metadata": describe_metadata(metadata),
            "words": find_trained_words(metadata),
            "home": _home(engine, card),
        }

    @router.get("/{card_id}/thumbnail")
    def thumbnail(card_id: str) -> Response:
        data = thumbnails.get(cards.find_listed(card_id))
        return Response(data, media_type="image/jpeg", headers=CACHE_FOREVER)

    @router.post("/{card_id}/hash")
    def hash_file(card_id: str) -> dict[str, str]:
        file = cards.find(card_id).file
        if isinstance(file, NetworkFile):
            digest = engine.models.networks.hash(file, _HASH_TIMEOUT_S)
        else:
            digest = engine.models.sha256(file, _HASH_TIMEOUT_S)
        return {"hash": digest[:SHORT_HASH_LENGTH]}

    @router.post("/{card_id}/notes")
    def write_notes(card_id: str, body: Notes) -> dict[str, Any]:
        write_user_metadata(cards.find(card_id).file.path, UserMetadata(**body.model_dump()))
        return details(card_id)

    @router.post("/{card_id}/preview")
    def set_preview(card_id: str, body: ChosenImage) -> dict[str, Any]:
        save_preview(cards.find(card_id).file.path, image_path(engine, body.image))
        return details(card_id)

    return router


def _row(card: NetworkCard, default_weight: float) -> dict[str, Any]:
    return {
        "id": card.id,
        "kind": card.kind,
        "name": escape(card.name),
        "alias": card.alias,
        "tag": card.tag,
        "prompt_name": escape(card.prompt_name),
        "weight": card.notes.preferred_weight or default_weight,
        "activation_text": card.notes.activation_text,
        "negative_text": card.notes.negative_text,
        "description": card.notes.description,
        "family": _FAMILIES.get(card.notes.family) or card.family,
        "noted_family": card.notes.family,
        "error": card.error,
        "hash": card.hash,
        "folder": card.folder,
        "bytes": card.file.size_bytes,
        "modified": card.file.modified_ns / 10**9,
        "picture": picture_version(card),  # another picture has another address
    }


def _folder(engine: Engine, kind: str) -> str:
    """Return the first folder of a kind, as users name it: "models/Lora"."""
    folder, data = engine.models.folders(kind)[0], engine.paths.data
    shown = folder.relative_to(data) if folder.is_relative_to(data) else folder
    return escape(shown.as_posix())


def _home(engine: Engine, card: NetworkCard) -> str:
    """Return the folder that a file belongs in, "" if it is in the right one or there is none for it."""
    with suppress(WebUIError):
        kind = engine.models.detect(read_header(card.file.path)).kind
        if kind is not None and kind.name != card.kind and engine.models.folders(kind.name):
            return _folder(engine, kind.name)
    return ""


def _metadata(card: NetworkCard) -> Mapping[str, str]:
    with suppress(WebUIError):
        return read_header(card.file.path).metadata
    return {}


def find_trained_words(metadata: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the words that a LoRA was trained with, the most frequent first; a trigger phrase comes before them, with 0."""
    counts: Counter[str] = Counter()
    with suppress(ValueError, RecursionError):
        folders: Any = json.loads(metadata.get(_TAGS, "{}"))
        for tags in cast("dict[str, Any]", folders).values() if isinstance(folders, dict) else ():
            if isinstance(tags, dict):
                pairs = cast("dict[str, Any]", tags).items()
                counts.update({tag.strip(): n for tag, n in pairs if isinstance(n, int)})
    trigger = metadata.get(_TRIGGER, "").strip()
    words = [(escape(word), count) for word, count in counts.most_common(_MAX_WORDS) if word]
    return [(escape(trigger), 0), *words] if trigger else words
