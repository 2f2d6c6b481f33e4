"""Keeps finished pictures: each is saved at once, with the text that tells how it was made."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from modules import infotext
from modules.core.errors import StorageError, WebUIError
from modules.core.version import NAME, VERSION
from modules.images.filename import Destination
from modules.images.save import ImageStore
from modules.models.manager import SHORT_HASH_LENGTH, ModelManager
from modules.models.model_plan import ModelPlan
from modules.params.result import GeneratedImage
from modules.plan import Plan

logger = logging.getLogger(__name__)

# A slow disk may take minutes to hash a file; the picture then goes without the hash in its infotext.
_HASH_TIMEOUT_S = 30


class Keeper:
    """Saves pictures with their infotext.

    Args:
        models: Knows the hashes of files.
        outputs: Where pictures go.

    Attributes:
        spare_outputs: Where a picture goes that the outputs folder refuses.
    """

    def __init__(self, models: ModelManager, outputs: Path) -> None:
        self.spare_outputs = Path(tempfile.gettempdir()) / "stable-diffusion-webui-unsaved"
        self._models = models
        self._images = ImageStore(outputs)

    def keep(
        self, plan: Plan, index: int, image: Image.Image, destination: Destination | None = None
    ) -> GeneratedImage:
        """Save one picture; when the outputs folder refuses it, keep it in the system's temporary folder.

        Args:
            plan: What it comes of.
            index: Which of the plan's pictures it is.
            image: The picture.
            destination: Where it goes, if not into the task's folder of the day.
        """
        one = plan.images[index]
        request = plan.request_of(one)
        extra = {**self._model_pairs(plan.model), "App": f"{NAME} {VERSION}"}
        text = infotext.write(request, extra, plan.settings)
        try:
            path = self._images.save(image, text, request.saved_as, one.seed, destination)
        except StorageError as error:
            logger.warning("%s", error)
            path = ImageStore(self.spare_outputs).save(image, text, request.saved_as, one.seed)
            return GeneratedImage(index, one.seed, text, path, f"{error} It is kept as {path}.")
        return GeneratedImage(index, one.seed, text, path)

    def _model_pairs(self, model: ModelPlan) -> dict[str, str]:
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
