"""Saves finished images as soon as they are ready, each with its infotext."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from modules import infotext
from modules.core.errors import StorageError, WebUIError
from modules.core.private import make_own_folder, own_folder_in
from modules.core.registry import Registry
from modules.core.text import escape
from modules.core.version import NAME, VERSION
from modules.engine.filename_tokens import make_filename_tokens
from modules.images.filename import FILENAME_TOKENS, Destination, FilenameToken
from modules.images.grid import make_grid
from modules.images.metadata import FileText
from modules.images.save import ImageStore, delete_older_files, read_image
from modules.infotext.codecs import CODECS, Codec
from modules.models.checkpoint import SHORT_HASH_LENGTH
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.networks.network_index import SHORT_HASH_LENGTH as NETWORK_HASH_LENGTH
from modules.params.results import GeneratedImage
from modules.plan.job_plan import JobPlan
from modules.plan.networks.loras import infotext_name
from modules.plan.plan import Plan
from modules.plan.prompts import list_loras
from modules.scripts.protocol import ScriptImage

logger = logging.getLogger(__name__)

# A slow disk may take minutes to hash a file; the image is then saved without the hash in its infotext.
_HASH_TIMEOUT_S = 30
_MAX_UNSAVED_AGE_S = 24 * 3600
NO_PAIRS: Mapping[str, object] = {}


class ImageSaver:
    """Saves images with their infotext.

    Args:
        models: Hashes model files.
        outputs: The folder of saved images.
        unsaved: The folder of images that are only shown, when saving is switched off.
        codecs: Codecs of infotext keys.
        filename_tokens: Computed tokens of filename patterns.

    Attributes:
        fallback_dir: The folder for images that cannot be written to the outputs folder; for this user alone.
    """

    def __init__(
        self,
        models: ModelIndex,
        outputs: Path,
        unsaved: Path,
        codecs: Iterable[Codec] = CODECS,
        filename_tokens: Registry[FilenameToken] = FILENAME_TOKENS,
    ) -> None:
        self.fallback_dir = own_folder_in(
            Path(tempfile.gettempdir()), "stable-diffusion-webui-unsaved"
        )
        self.unsaved_dir = unsaved
        self._models = models
        self._images = ImageStore(outputs)
        self._codecs = codecs
        self._filename_tokens = filename_tokens

    @property
    def image_dirs(self) -> tuple[Path, ...]:
        """Return every folder that may contain images."""
        return self._images.outputs, self.fallback_dir, self.unsaved_dir

    def save(
        self,
        plan: JobPlan,
        index: int,
        image: Image.Image,
        announce: Callable[[GeneratedImage], object],
        destination: Destination | None = None,
        pairs: Mapping[str, object] = NO_PAIRS,
    ) -> GeneratedImage:
        """Save one image; if the outputs folder cannot be written, save it in the system's temporary folder.

        Args:
            plan: The plan of its job.
            index: Its index among the plan's images.
            image: The image.
            announce: Called with its record just before there is a file: a kill in between leaves a record without a
                file, never a file without a record. The last call counts.
            destination: Folder and name, instead of those of the settings.
            pairs: Added to its infotext.
        """
        seed, text = plan.image_seed(index), escape(self._infotext(plan, index, pairs))
        written = FileText(text, plan.image_chunks(index))
        tokens = make_filename_tokens(plan, index, self._filename_tokens)
        store = self._images if plan.settings.samples_save else self._unsaved_store()

        def save_in(
            store: ImageStore, place: Destination | None, error: str = ""
        ) -> GeneratedImage:
            def make_record(path: Path) -> GeneratedImage:
                warning = f"{error} It was saved as {path} instead." if error else ""
                return GeneratedImage(index, seed, text, path, warning, image.size)

            def on_path(path: Path) -> None:
                announce(make_record(path))

            return make_record(store.save(image, written, tokens, plan.settings, place, on_path))

        try:
            return save_in(store, destination or plan.image_destination())
        except StorageError as error:
            logger.warning("%s", error)
            return save_in(self._fallback_store(), None, str(error))

    def save_grid(
        self, plan: JobPlan, images: Sequence[GeneratedImage], on_note: Callable[[str], None]
    ) -> Path | None:
        """Save the grid of a job's images, if the settings enable it; return None if there is no grid.

        Args:
            plan: The plan of the job; only images that were generated are put into a grid.
            images: The saved images.
            on_note: Called with the error message if the grid cannot be saved.
        """
        settings = plan.settings
        if not isinstance(plan, Plan):
            return None
        is_enabled = settings.grid_save or settings.return_grid
        if not is_enabled or not images or (len(images) < 2 and settings.grid_only_if_multiple):
            return None
        is_saved = settings.grid_save and settings.samples_save
        store = self._images if is_saved else self._unsaved_store()
        tokens = make_filename_tokens(plan, images[0].index, self._filename_tokens)
        try:
            cells = [read_image(image.path) for image in images]
            grid = make_grid(cells, plan.request.batch_size, settings)
            if grid is not None:
                return store.save_grid(grid, images[0].infotext, tokens, settings, settings)
        except StorageError as error:
            on_note(str(error))
        return None

    def save_script_image(
        self, plan: JobPlan, image: ScriptImage, announce: Callable[[GeneratedImage], object]
    ) -> GeneratedImage:
        """Save an image that a script has made of those of its cells.

        Args:
            plan: The plan of the request that the script started from.
            image: The image.
            announce: Called with its record just before there is a file; the last call counts.

        Raises:
            StorageError: it cannot be saved.
            UserError: it cannot be drawn.
        """
        settings = plan.settings
        tokens = replace(make_filename_tokens(plan, 0, self._filename_tokens), seed=image.seed)
        text, drawn = escape(image.infotext), image.image
        pixels = drawn if isinstance(drawn, Image.Image) else drawn(settings)
        is_grid = image.kind == "grid"
        is_saved = settings.samples_save and (settings.grid_save or not is_grid)
        store = self._images if is_saved else self._unsaved_store()

        def make_record(path: Path) -> GeneratedImage:
            return GeneratedImage(0, image.seed, text, path, size=pixels.size, kind=image.kind)

        def on_path(path: Path) -> None:
            announce(make_record(path))

        if is_grid:
            path = store.save_grid(pixels, text, tokens, settings, settings, on_path)
        else:
            path = store.save(pixels, text, tokens, settings, None, on_path)
        return make_record(path)

    def _fallback_store(self) -> ImageStore:
        """Return the store for images that cannot be written to the outputs folder.

        Raises:
            StorageError: its folder cannot be created, or somebody else has prepared it.
        """
        try:
            make_own_folder(self.fallback_dir)
        except OSError as error:
            raise StorageError(
                f"The picture could not be saved in {self.fallback_dir} either: {error}.",
                "Free some space or check the permissions of the outputs folder.",
            ) from error
        return ImageStore(self.fallback_dir)

    def _unsaved_store(self) -> ImageStore:
        """Return the store for images that are not saved permanently; deletes those older than a day."""
        if self.unsaved_dir.is_dir():
            delete_older_files(self.unsaved_dir, _MAX_UNSAVED_AGE_S)
        return ImageStore(self.unsaved_dir)

    def _infotext(self, plan: JobPlan, index: int, pairs: Mapping[str, object]) -> str:
        """Return the infotext of one image of a job, with more pairs if it was generated."""
        if not isinstance(plan, Plan):
            return plan.image_infotext(index)
        extra = {
            **pairs,
            **self._model_infotext(plan),
            "Lora hashes": self._lora_hashes(plan),
            "TI hashes": plan.networks.ti_hashes,
            **dict(plan.templates),
            "App": f"{NAME} {VERSION}",
        }
        if plan.precision:  # it says more than the option does
            extra["Precision"] = plan.precision
        request = plan.single_image_request(plan.images[index])
        return infotext.create_infotext(
            request, extra, plan.settings, self._codecs, plan.stated_options
        )

    def _model_infotext(self, plan: Plan) -> dict[str, str]:
        """Return the infotext pairs of the models; the VAE only if it is not the checkpoint's own."""
        model = plan.model
        pairs = {
            "Model hash": self._file_hash(model.checkpoint),
            "Model": model.checkpoint.model_name,
        }
        if model.vae is not None:
            pairs["VAE hash"] = self._file_hash(model.vae)
            pairs["VAE"] = model.vae.file_name
        refiner = plan.refiner_model
        if refiner is not None:
            short_hash = self._file_hash(refiner.checkpoint)
            title = f"{refiner.checkpoint.model_name} [{short_hash}]"
            pairs["Refiner"] = title if short_hash else refiner.checkpoint.model_name
        return pairs

    def _lora_hashes(self, plan: Plan) -> str:
        """Return name and hash of each LoRA of all passes as A1111 writes them, "" for none."""
        if not plan.settings.lora_add_hashes_to_infotext:
            return ""
        networks = self._models.networks
        hashes: dict[str, str] = {}
        for use in list_loras(plan):
            digest = _short_hash(
                partial(networks.hash, use.file, _HASH_TIMEOUT_S), NETWORK_HASH_LENGTH
            )
            if digest:
                hashes[infotext_name(use)] = digest
        return ", ".join(f"{name}: {digest}" for name, digest in hashes.items())

    def _file_hash(self, file: ModelFile) -> str:
        return _short_hash(partial(self._models.sha256, file, _HASH_TIMEOUT_S))


def _short_hash(digest: Callable[[], str], length: int = SHORT_HASH_LENGTH) -> str:
    try:
        return digest()[:length]
    except WebUIError as error:  # the file was deleted after it was loaded; the image exists
        logger.warning("%s", error)
        return ""
