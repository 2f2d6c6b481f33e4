"""NetworkCards: every network of every kind, and every checkpoint, with name, family, hash, preview and the user's notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from modules.core.errors import NotFound
from modules.engine.model_shelf import file_id
from modules.engine.model_sidecars import find_preview
from modules.engine.networks.user_metadata import UserMetadata, read_user_metadata
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import CHECKPOINT, EMBEDDING, HYPERNETWORK
from modules.models.networks.embeddings import EmbeddingList
from modules.models.networks.network_index import path_name, tag_name
from modules.models.networks.network_kinds import LORA
from modules.params.settings import Settings


@dataclass(frozen=True)
class NetworkCard:
    """One network.

    Args:
        id: Its identity as long as it is where it is.
        kind: Name of its row of KINDS.
        name: As prompts name it.
        file: Its file.
        alias: The other name that prompts may use.
        tag: The word of its prompt tag, such as "lora"; "" where the name alone is written.
        prompt_name: The name that a card writes; of a checkpoint, the name that chooses it.
        family: Of the checkpoints that it fits, "" if unknown.
        error: Why it cannot be used, in a sentence, or "".
        hash: As far as it is known without reading the file.
        preview: A picture next to it.
        has_cover: Whether its metadata hold a picture.
        notes: Of the user.
    """

    id: str
    kind: str
    name: str
    file: ModelFile = field(repr=False)
    alias: str = ""
    tag: str = ""
    prompt_name: str = ""
    family: str = ""
    error: str = ""
    hash: str = ""
    preview: Path | None = None
    has_cover: bool = False
    notes: UserMetadata = field(default_factory=UserMetadata)

    @property
    def folder(self) -> str:
        """Return the folder below that of its kind, "" for none."""
        return self.file.name.rpartition("/")[0]

    @property
    def has_preview(self) -> bool:
        """Return whether it has a picture."""
        return self.preview is not None or self.has_cover


@dataclass(frozen=True)
class CardSources:
    """Where cards come from.

    Args:
        models: Lists files.
        embeddings: Lists embeddings.
        settings: Returns the options.
    """

    models: ModelIndex
    embeddings: EmbeddingList
    settings: Callable[[], Settings]


@dataclass(frozen=True)
class CardKind:
    """One row of CARD_KINDS.

    Args:
        name: Of its row of KINDS.
        cards: Yields the cards, without previews and notes.
        refresh: Scans the folders again.
    """

    name: str
    cards: Callable[[CardSources], Iterator[NetworkCard]]
    refresh: Callable[[CardSources], None]


def _id(sources: CardSources, kind: str, file: ModelFile) -> str:
    """Return the id that the Models tab has for the same file."""
    return file_id(sources.models.kinds.get(kind), file)


def _lora_cards(sources: CardSources) -> Iterator[NetworkCard]:
    networks = sources.models.networks
    by_alias = sources.settings().lora_preferred_name == "Alias from file"
    for file in networks.files(LORA):
        stem = file.network_name
        alias = file.facts.alias or stem
        name = tag_name(alias)
        is_alias = by_alias and _is_same(networks.means(LORA, name), file)
        prompt_name = name if is_alias else tag_name(stem)
        if not is_alias and not _is_same(networks.means(LORA, prompt_name), file):
            prompt_name = path_name(file)  # another file has that name
        yield NetworkCard(
            _id(sources, LORA, file),
            LORA,
            stem,
            file,
            alias,
            "lora",
            prompt_name,
            file.facts.family,
            file.facts.error,
            networks.known_hash(file)[:12],
            has_cover=file.facts.has_cover,
        )


def _is_same(found: ModelFile | None, file: ModelFile) -> bool:
    return found is file or found == file  # equal after a refresh; a comparison takes a while


def _embedding_cards(sources: CardSources) -> Iterator[NetworkCard]:
    for one in sources.embeddings.all():
        yield NetworkCard(
            _id(sources, EMBEDDING, one.file),
            EMBEDDING,
            one.name,
            one.file,
            prompt_name=one.name,
            family=one.family,
            error=one.error,
            preview=one.file.path if one.is_picture else None,
        )


def _hypernetwork_cards(sources: CardSources) -> Iterator[NetworkCard]:
    for file in sources.models.networks.files(HYPERNETWORK):
        yield NetworkCard(
            _id(sources, HYPERNETWORK, file),
            HYPERNETWORK,
            file.stem,
            file,
            tag="hypernet",
            prompt_name=file.stem,
            family=file.facts.family,
            error=file.facts.error,
        )


def _checkpoint_cards(sources: CardSources) -> Iterator[NetworkCard]:
    for file in sources.models.checkpoints():
        yield NetworkCard(
            _id(sources, CHECKPOINT, file),
            CHECKPOINT,
            file.stem,
            file,
            prompt_name=file.name,
            family=file.family,
            error=file.error,
            hash=file.short_hash,
        )


# In the order of the page's tabs.
CARD_KINDS: tuple[CardKind, ...] = (
    CardKind(LORA, _lora_cards, lambda sources: sources.models.networks.refresh(LORA)),
    CardKind(EMBEDDING, _embedding_cards, lambda sources: sources.embeddings.refresh()),
    CardKind(HYPERNETWORK, _hypernetwork_cards, lambda s: s.models.networks.refresh(HYPERNETWORK)),
    CardKind(CHECKPOINT, _checkpoint_cards, lambda s: s.models.refresh(CHECKPOINT)),
)


class NetworkCards:
    """The cards of all kinds.

    Args:
        sources: Where they come from.
        kinds: In the order of the page.
    """

    def __init__(self, sources: CardSources, kinds: Iterable[CardKind] = CARD_KINDS) -> None:
        self._sources = sources
        self.kinds = tuple(kinds)
        self._listed: dict[str, NetworkCard] = {}  # by id, as of the last list

    def all(self) -> list[NetworkCard]:
        """Return every card, by kind and name; only what is new on the disk is opened."""
        names: dict[Path, frozenset[str]] = {}
        cards = [
            _with_sidecars(card, names) for kind in self.kinds for card in kind.cards(self._sources)
        ]
        self._listed = {card.id: card for card in cards}
        return cards

    def refresh(self) -> None:
        """Scan the folders of all kinds again."""
        for kind in self.kinds:
            kind.refresh(self._sources)

    def find(self, wanted: str) -> NetworkCard:
        """Return a card by its id.

        Raises:
            NotFound: the file is gone, or has another name.
        """
        cards = (card for kind in self.kinds for card in kind.cards(self._sources))
        card = next((card for card in cards if card.id == wanted), None)
        if card is None or not card.file.path.exists():
            raise NotFound("This file is no longer where it was.", "Refresh the list.")
        self._listed[wanted] = found = _with_sidecars(card, {})
        return found

    def find_listed(self, wanted: str) -> NetworkCard:
        """Return a card by its id as it was listed last, without a look at the disk: pictures are requested by dozens.

        Raises:
            NotFound: as `find`.
        """
        return self._listed.get(wanted) or self.find(wanted)

    def find_preview(self, path: Path) -> NetworkCard | None:
        """Return the card whose picture has a path, or None."""
        return next((card for card in self.all() if card.preview == path), None)


def _with_sidecars(card: NetworkCard, names: dict[Path, frozenset[str]]) -> NetworkCard:
    """Return a card with its preview and the user's notes.

    Args:
        card: Without them.
        names: Caches what is in each folder.
    """
    path = card.file.path
    preview = find_preview(path, names) or card.preview
    if path.with_suffix(".json").name in names[path.parent]:
        card = replace(card, notes=read_user_metadata(path))
    return card if preview is card.preview else replace(card, preview=preview)
