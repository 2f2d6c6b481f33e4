"""Finds the extra networks that an infotext names among the installed ones, by hash before name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modules.infotext.codecs import Pairs
from modules.models.index import ModelIndex
from modules.models.kinds import HYPERNETWORK
from modules.models.networks.network_file import NetworkFile
from modules.models.networks.network_index import SHORT_HASH_LENGTH, tag_name
from modules.models.networks.network_kinds import LORA, LORA_TAGS

LORA_HASHES, TI_HASHES = "Lora hashes", "TI hashes"
# A1111's pairs of 2022, when a hypernetwork was a setting; it reads them as a tag at the end of the prompt.
_HYPERNETWORK, _STRENGTH = "Hypernet", "Hypernet strength"
_LORA_WEIGHTS = "Lora weights"  # of programs that have no tags in prompts
# Of the extension Additional Networks, which has five; A1111 reads them as tags, too.
_ADDED_NUMBERS = range(1, 6)
_ADDED_FIELDS = (
    "Module",
    "Model",
    "Weight A",
    "Weight B",
)  # the weights of the UNet and the text encoder
_MODEL_TITLE = re.compile(r"(.*?)\s*\([0-9a-fA-F]+\)")
KEYS_OF_TAGS = (
    _HYPERNETWORK,
    _STRENGTH,
    "Hypernet hash",  # of a part of the file; nothing looks it up
    _LORA_WEIGHTS,
    "AddNet Enabled",
    *(f"AddNet {field} {number}" for field in _ADDED_FIELDS for number in _ADDED_NUMBERS),
)
_HASH_TIMEOUT_S = 5  # of an embedding, which is small
_SHORT_HASH = re.compile(r"[0-9a-fA-F]{10,12}")
_HASH = re.compile(r"\s*([^:,]+):\s*([0-9a-fA-F]{8,64})\s*")
_WEIGHT = re.compile(r"\s*([^:,]+):\s*(-?\d+(?:\.\d+)?)\s*")
_TAG = re.compile(r"<(\w+):([^:>]+)")
_HYPERNET_TAG = "hypernet"


@dataclass(frozen=True)
class NetworkMatches:
    """The networks of an infotext.

    Args:
        prompts: By field the prompt, with the names that its files have here.
        missing: A sentence for each network that is not here.
        differences: A sentence for each file of the same name with another content.
    """

    prompts: Mapping[str, str]
    missing: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def find_networks(
    prompts: Mapping[str, str], pairs: Pairs, models: ModelIndex, by_alias: bool = True
) -> NetworkMatches:
    """Return the prompts of an infotext with the names of local files, and what is missing.

    Args:
        prompts: By field.
        pairs: Of the infotext.
        models: The installed files.
        by_alias: Whether a LoRA is named as its trainer called it, or as its file.
    """
    hashes = {
        name.strip(): short.lower() for name, short in _HASH.findall(pairs.get(LORA_HASHES, ""))
    }
    lookup = _Lookup(hashes, models, by_alias)
    renamed = {field: _TAG.sub(lookup.rename, prompt) for field, prompt in prompts.items()}
    missing, differences = _check_embeddings(pairs.get(TI_HASHES, ""), models)
    return NetworkMatches(renamed, (*lookup.missing, *missing), (*lookup.differences, *differences))


def missing_tags(prompt: str, pairs: Pairs) -> str:
    """Return the tags of the networks that pairs name and the prompt does not, "" for none."""
    tags = [
        f"<{LORA_TAGS[0]}:{name.strip()}:{weight}>"
        for name, weight in _WEIGHT.findall(pairs.get(_LORA_WEIGHTS, ""))
    ]
    tags += _added_tags(pairs)
    if pairs.get(_HYPERNETWORK, "None") not in ("", "None"):
        tags.append(f"<{_HYPERNET_TAG}:{pairs[_HYPERNETWORK]}:{pairs.get(_STRENGTH, '1.0')}>")
    return "".join(tag for tag in tags if tag.rpartition(":")[0] not in prompt)


def _added_tags(pairs: Pairs) -> list[str]:
    """Return the tags of what the extension Additional Networks added."""
    tags: list[str] = []
    for number in _ADDED_NUMBERS:
        values = (pairs.get(f"AddNet {field} {number}", "") for field in _ADDED_FIELDS)
        module, model, unet, text = values
        if module != "LoRA" or model in ("", "None"):
            continue
        title = _MODEL_TITLE.fullmatch(model)
        unet = unet or "1.0"
        weights = unet if text in ("", unet) else f"{text}:{unet}"
        tags.append(f"<{LORA_TAGS[0]}:{title[1] if title else model}:{weights}>")
    return tags


class _Lookup:
    """Looks tags up, one by one, and collects what to report."""

    def __init__(self, hashes: Mapping[str, str], models: ModelIndex, by_alias: bool) -> None:
        self.missing: dict[str, None] = {}
        self.differences: dict[str, None] = {}
        self._hashes = hashes
        self._models = models
        self._by_alias = by_alias

    def rename(self, match: re.Match[str]) -> str:
        """Return the begin of a tag with the name that its file has here."""
        kind, name = match[1], match[2].strip()
        if kind in LORA_TAGS:
            return f"<{kind}:{self._find_lora(name)}"
        stems = (file.stem.casefold() for file in self._models.files(HYPERNETWORK))
        if kind == _HYPERNET_TAG and name.casefold() not in stems:
            self.missing[_missing_sentence("hypernetwork", name, "", "models/hypernetworks")] = None
        return match[0]

    def _find_lora(self, name: str) -> str:
        networks = self._models.networks
        stated = self._hashes.get(_without_marks(name), "")
        by_name = networks.means(LORA, name)
        known = networks.known_hash(by_name) if by_name else ""
        is_it = bool(stated) and known.startswith(stated)
        by_hash = by_name if is_it else networks.find_by_hash(LORA, stated)
        if by_hash is not None:
            return self._prompt_name(by_hash)
        if by_name is None:
            self.missing[_missing_sentence("LoRA", name, stated, "models/Lora")] = None
            return name
        if stated and known:
            self.differences[_difference_sentence("LoRA", name, known, stated)] = None
        return name

    def _prompt_name(self, file: NetworkFile) -> str:
        """Return the name that the options prefer, as A1111 writes it."""
        alias = tag_name(file.alias)
        is_found = self._models.networks.means(LORA, alias) == file
        return alias if self._by_alias and is_found else tag_name(file.network_name)


def _check_embeddings(stated: str, models: ModelIndex) -> tuple[list[str], list[str]]:
    """Return a sentence for each embedding that is not here, and for each that is another file of the same name.

    Those in LoRA files have a LoRA's name for a hash.
    """
    listed = {_without_marks(one.name).casefold(): one for one in models.embeddings.all()}
    pairs = (entry.rpartition(":") for entry in stated.split(",") if ":" in entry)
    named = {name.strip(): value.strip() for name, _, value in pairs}
    missing: list[str] = []
    differences: list[str] = []
    for name, value in named.items():
        found = listed.get(name.casefold())
        if found is None:
            if not value or _SHORT_HASH.fullmatch(value):
                missing.append(_missing_sentence("embedding", name, value, "embeddings"))
            continue
        known = models.embeddings.short_hash(found, _HASH_TIMEOUT_S)
        if known and _SHORT_HASH.fullmatch(value) and not known.startswith(value.lower()):
            differences.append(_difference_sentence("embedding", name, known, value))
    return missing, differences


def _without_marks(name: str) -> str:
    """Return a name as a list of hashes has it."""
    return name.replace(":", "").replace(",", "")


def _difference_sentence(noun: str, name: str, known: str, stated: str) -> str:
    return (
        f"The {noun} {name} has the hash {known[:SHORT_HASH_LENGTH]}, the picture was made with one of that "
        f"name and the hash {stated}."
    )


def _missing_sentence(noun: str, name: str, short_hash: str, folder: str) -> str:
    title = f"{name} [{short_hash}]" if short_hash else name
    return f"The picture was made with the {noun} {title}, which is not here. Put the file into {folder}."
