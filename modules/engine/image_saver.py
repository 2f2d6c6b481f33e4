"""Keeps finished pictures: each is saved at once, with the text that tells how it was made."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from modules import infotext
from modules.core.errors import StorageError, WebUIError
from modules.core.version import NAME, VERSION
from modules.engine.filename_tokens import make_filename_tokens
from modules.images.filename import Destination
from modules.images.grid import make_grid
from modules.images.save import ImageStore, delete_older_files, read_image
from modules.models.manager import SHORT_HASH_LENGTH, ModelManager
from modules.models.model_spec import ModelSpec
from modules.params.results import GeneratedImage
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)

# A slow disk may take minutes to hash a file; the picture then goes without the hash in its infotext.
_HASH_TIMEOUT_S = 30
_UNSAVED_LASTS_S = 24 * 3600


class ImageSaver:
    """Saves pictures with their infotext.

    Args:
        models: Knows the hashes of files.
        outputs: Where pictures go.
        unsaved: Where a picture goes that is not to be saved.

    Attributes:
        fallback_dir: Where a picture goes that the outputs folder refuses.
    """

    def __init__(self, models: ModelManager, outputs: Path, unsaved: Path) -> None:
        self.fallback_dir = Path(tempfile.gettempdir()) / "stable-diffusion-webui-unsaved"
        self.unsaved_dir = unsaved
        self._models = models
        self._images = ImageStore(outputs)

    @property
    def image_dirs(self) -> tuple[Path, ...]:
        """Return every folder that may hold a picture."""
        return self._images.outputs, self.fallback_dir, self.unsaved_dir

    def save(
        self, plan: Plan, index: int, image: Image.Image, destination: Destination | None = None
    ) -> GeneratedImage:
        """Save one picture; when the outputs folder refuses it, keep it in the system's temporary folder.

        Args:
            plan: What it comes of.
            index: Which of the plan's pictures it is.
            image: The picture.
            destination: Where it goes, if not where the options say.
        """
        one = plan.images[index]
        request = plan.single_image_request(one)
        extra = {**self._model_infotext(plan.model), "App": f"{NAME} {VERSION}"}
        text = infotext.create_infotext(request, extra, plan.settings)
        naming = make_filename_tokens(plan, one)
        images = self._images if plan.settings.samples_save else self._unsaved_store()
        try:
            path = images.save(image, text, naming, plan.settings, destination)
        except StorageError as error:
            logger.warning("%s", error)
            path = ImageStore(self.fallback_dir).save(image, text, naming, plan.settings)
            return GeneratedImage(index, one.seed, text, path, f"{error} It is kept as {path}.")
        return GeneratedImage(index, one.seed, text, path)

    def save_grid(
        self, plan: Plan, images: Sequence[GeneratedImage], on_note: Callable[[str], None]
    ) -> Path | None:
        """Save all pictures of a job in one, if the settings ask for that; None when there is no grid.

        Args:
            plan: What they come of.
            images: As they were saved.
            on_note: Hears of it when the disk refuses.
        """
        settings = plan.settings
        wanted = settings.grid_save or settings.return_grid
        if not wanted or not images or (len(images) < 2 and settings.grid_only_if_multiple):
            return None
        saves = settings.grid_save and settings.samples_save
        store = self._images if saves else self._unsaved_store()
        naming = make_filename_tokens(plan, plan.images[images[0].index])
        try:
            opened = [read_image(image.path) for image in images]
            grid = make_grid(opened, plan.request.batch_size, settings)
            if grid is not None:
                return store.save_grid(grid, images[0].infotext, naming, settings, settings)
        except StorageError as error:
            on_note(str(error))
        return None

    def _unsaved_store(self) -> ImageStore:
        """Return the place of pictures that are not to be saved, those of former days removed."""
        if self.unsaved_dir.is_dir():
            delete_older_files(self.unsaved_dir, _UNSAVED_LASTS_S)
        return ImageStore(self.unsaved_dir)

    def _model_infotext(self, model: ModelSpec) -> dict[str, str]:
        """Return what the infotext tells of the model; a VAE only when it is not the checkpoint's own."""
        pairs = {
            "Model hash": self._short_hash(
                lambda: self._models.sha256(model.checkpoint, _HASH_TIMEOUT_S)
            ),
            "Model": model.checkpoint.model_name,
        }
        vae = model.vae
        if vae is not None:
            pairs["VAE hash"] = self._short_hash(
                lambda: self._models.vae_sha256(vae, _HASH_TIMEOUT_S)
            )
            pairs["VAE"] = vae.path.name
        return pairs

    def _short_hash(self, digest: Callable[[], str]) -> str:
        try:
            return digest()[:SHORT_HASH_LENGTH]
        except WebUIError as error:  # the file went away after it was loaded; the picture is there
            logger.warning("%s", error)
            return ""
