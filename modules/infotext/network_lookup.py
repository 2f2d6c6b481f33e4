"""Finds the networks that an infotext names among the installed ones: LoRAs, embeddings and hypernetworks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modules.core.errors import WebUIError
from modules.infotext.codecs import Pairs
from modules.infotext.model_lookup import FileMatch
from modules.models.index import ModelIndex
from modules.models.kinds import HYPERNETWORK
from modules.models.networks.embeddings import Embedding
from modules.models.networks.network_kinds import LORA, LORA_TAGS
from modules.prompt.extra_networks import extract_networks

TI_HASHES, LORA_HASHES = "TI hashes", "Lora hashes"
LORA_WEIGHTS = "Lora weights"  # as we call InvokeAI's list
# A1111's keys of the one hypernetwork that a picture could have before 2023; its weight is 1 without a key.
HYPERNET, HYPERNET_STRENGTH, HYPERNET_HASH = "Hypernet", "Hypernet strength", "Hypernet hash"
NETWORK_KEYS = (TI_HASHES, LORA_HASHES, LORA_WEIGHTS, HYPERNET, HYPERNET_STRENGTH, HYPERNET_HASH)
_HYPERNET_TAG = "hypernet"
_HASH = re.compile(r"[0-9a-f]{10,64}")
_ENTRY = re.compile(r"\s*([^:,]+):\s*([^,]*)")
_HASH_TIMEOUT_S = 5
_MAX_ENTRIES = 200


class NamedNetwork(NamedTuple):
    """A network as an infotext lists it; the hash is "" where it states none."""

    name: str
    hash: str = ""


def with_tags(prompt: str, pairs: Pairs) -> str:
    """Return the prompt with tags for the networks that an infotext names in pairs of their own."""
    named = [(LORA_TAGS[0], *entry) for entry in _parse_entries(pairs.get(LORA_WEIGHTS, ""))]
    hypernetwork = pairs.get(HYPERNET, "").strip()
    if hypernetwork not in ("", "None"):
        named.append((_HYPERNET_TAG, hypernetwork, pairs.get(HYPERNET_STRENGTH, "1.0")))
    tags = (f" <{kind}:{name}:{weight}>" for kind, name, weight in named)
    return "".join((prompt, *tags)).strip() if named else prompt


def find_networks(prompts: Iterable[str], pairs: Pairs, models: ModelIndex) -> Iterator[FileMatch]:
    """Yield what is missing or another file, of the networks in some prompts and in the pairs.

    Args:
        prompts: Those in which tags count, not the negative ones.
        pairs: Of the infotext.
        models: The installed files.
    """
    tags = [tag for prompt in prompts for tag in extract_networks(prompt)[1] if tag.name]
    hashes = dict(_parse_entries(pairs.get(LORA_HASHES, "")))
    for name in dict.fromkeys(tag.name for tag in tags if tag.kind in LORA_TAGS):
        yield _find_lora(NamedNetwork(name, hashes.get(_key(name), "")), models)
    for network in dict.fromkeys(_parse_entries(pairs.get(TI_HASHES, ""))):
        yield _find_embedding(network, models)
    old_hash = pairs.get(HYPERNET_HASH, "")
    for name in dict.fromkeys(tag.name for tag in tags if tag.kind == _HYPERNET_TAG):
        yield _find_hypernetwork(name, old_hash if name == pairs.get(HYPERNET) else "", models)


def _parse_entries(text: str) -> list[NamedNetwork]:
    """Return the networks in a list such as "name: 0123456789ab, name2: ab0123456789"."""
    entries = (NamedNetwork(match[1].strip(), match[2].strip()) for match in _ENTRY.finditer(text))
    return [entry for _, entry in zip(range(_MAX_ENTRIES), entries, strict=False)]


def _key(name: str) -> str:
    """Return a name as a list of hashes has it."""
    return name.replace(":", "").replace(",", "")


def _find_lora(network: NamedNetwork, models: ModelIndex) -> FileMatch:
    file = models.networks.find(LORA, network.name)
    if file is None:
        return _missing("LoRA", network, "models/Lora")
    return _compare("LoRA", network, models.networks.known_hash(file))


def _find_embedding(network: NamedNetwork, models: ModelIndex) -> FileMatch:
    listed: dict[str, Embedding] = {_key(one.name): one for one in models.embeddings.all()}
    found = listed.get(network.name)
    is_bundled = bool(network.hash) and not _HASH.fullmatch(network.hash)
    if is_bundled and found is None:  # its hash is the name of the LoRA that contains it
        return FileMatch(network.name)
    if found is None:
        return _missing("embedding", network, "embeddings")
    return _compare("embedding", network, models.embeddings.short_hash(found, _HASH_TIMEOUT_S))


def _find_hypernetwork(name: str, old_hash: str, models: ModelIndex) -> FileMatch:
    try:
        return FileMatch(models.find(HYPERNETWORK, name).name)
    except WebUIError:
        return _missing("hypernetwork", NamedNetwork(name, old_hash), "models/hypernetworks")


def _missing(noun: str, network: NamedNetwork, folder: str) -> FileMatch:
    title = f"{network.name} [{network.hash}]" if network.hash else network.name
    return FileMatch(
        missing=f"The picture was made with the {noun} {title}, which is not here. Put the file into {folder}."
    )


def _compare(noun: str, network: NamedNetwork, known_hash: str) -> FileMatch:
    """Return a match, with a sentence where both hashes are known and differ."""
    stated = network.hash.lower()
    length = min(len(stated), len(known_hash))
    is_comparable = length > 0 and _HASH.fullmatch(stated) is not None
    if not is_comparable or known_hash[:length] == stated[:length]:
        return FileMatch(network.name)
    return FileMatch(
        network.name,
        differs=f"The {noun} {network.name} has the hash {known_hash[: len(stated)]}, the picture was made with one"
        f" of that name and the hash {stated}.",
    )
