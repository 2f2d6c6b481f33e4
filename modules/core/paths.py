"""Every folder that the program reads or writes, derived from two root folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modules.core.text import escape

# A1111's first: a file of an unknown folder belongs in the first of these.
_UPSCALER_FOLDERS = (
    "ESRGAN",
    "RealESRGAN",
    "BSRGAN",
    "SwinIR",
    "DAT",
    "HAT",
    "ScuNET",
    "upscale_models",
)


@dataclass(frozen=True)
class Paths:
    """Folders and files of the program. A folder is created by the code that first writes to it.

    Args:
        root: The cloned repository: code, configs and the demo checkpoint.
        data: The user's data: models, outputs, settings, caches (`--data-dir`; the root by default).
        ckpt_dir: An additional folder with checkpoints (`--ckpt-dir`).
        allowed_folders: Additional folders whose images a batch may read (`--gradio-allowed-path`).
        embeddings_dir: The folder of embeddings, if it is another one (`--embeddings-dir`).
        hypernetwork_dir: Likewise of hypernetworks (`--hypernetwork-dir`).
        lora_dir: An additional folder with LoRA files (`--lora-dir`).
        upscaler_dirs: Additional folders with upscalers (`--esrgan-models-path` and its like).
        controlnet_dir: An additional folder with control models (`--controlnet-dir`).
    """

    root: Path
    data: Path
    ckpt_dir: Path | None = None
    allowed_folders: tuple[Path, ...] = ()
    embeddings_dir: Path | None = None
    hypernetwork_dir: Path | None = None
    lora_dir: Path | None = None
    upscaler_dirs: tuple[Path, ...] = ()
    controlnet_dir: Path | None = None

    @property
    def configs(self) -> Path:
        """LDM .yaml files and the tokenizer's vocabulary."""
        return self.root / "configs"

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Folders scanned for checkpoints: the user's first, the shipped demo folder last."""
        folders = [self.data / "models" / "Stable-diffusion"]
        if self.ckpt_dir is not None:
            folders.insert(0, self.ckpt_dir)
        shipped = self.root / "models" / "Stable-diffusion"
        if shipped not in folders:
            folders.append(shipped)
        return tuple(folders)

    @property
    def vae_folders(self) -> tuple[Path, ...]:
        """Folders scanned for separate VAE files."""
        return self.model_folders("VAE")

    @property
    def text_encoder_folders(self) -> tuple[Path, ...]:
        """Folders scanned for separate text encoder files, named as in Forge and ComfyUI."""
        return self.model_folders("text_encoder", "text_encoders", "clip")

    @property
    def embeddings(self) -> Path:
        """Textual-inversion embeddings; A1111's place, next to models/."""
        return self.embeddings_dir or self.data / "embeddings"

    @property
    def hypernetworks(self) -> Path:
        """Hypernetworks."""
        return self.hypernetwork_dir or self.data / "models" / "hypernetworks"

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """Folders scanned for LoRA files: the user's, that of A1111's former extension, and the shipped one."""
        folders = self.model_folders("Lora", "LyCORIS")
        if self.lora_dir is not None:
            folders = (self.lora_dir, *folders)
        shipped = self.root / "models" / "Lora"
        return folders if shipped in folders else (*folders, shipped)

    @property
    def upscaler_folders(self) -> tuple[Path, ...]:
        """Folders scanned for upscalers, as in A1111 and ComfyUI; the shipped one last."""
        folders = (*self.model_folders(*_UPSCALER_FOLDERS), *self.upscaler_dirs)
        shipped = self.root / "models" / "RealESRGAN"
        return folders if shipped in folders else (*folders, shipped)

    @property
    def preview_decoder_folders(self) -> tuple[Path, ...]:
        """Folders scanned for small decoders that make previews, as in A1111 and ComfyUI; the shipped one last."""
        folders = self.model_folders("VAE-approx", "vae_approx")
        shipped = self.root / "models" / "VAE-approx"
        return folders if shipped in folders else (*folders, shipped)

    @property
    def control_folders(self) -> tuple[Path, ...]:
        """Folders scanned for control models, as in A1111's extension; the shipped one last."""
        folders = self.model_folders("ControlNet")
        if self.controlnet_dir is not None:
            folders = (self.controlnet_dir, *folders)
        folders = (*folders, self.extensions / "sd-webui-controlnet" / "models")
        shipped = self.root / "models" / "ControlNet"
        return folders if shipped in folders else (*folders, shipped)

    @property
    def face_detector(self) -> Path:
        """The weights of the network that finds faces; shipped."""
        return self.root / "models" / "face_detection" / "mtcnn.safetensors"

    def model_folders(self, *names: str) -> tuple[Path, ...]:
        """Return the folders of these names for model files of other kinds."""
        return tuple(self.data / "models" / name for name in names)

    @property
    def extensions(self) -> Path:
        """Extensions, one folder each."""
        return self.data / "extensions"

    @property
    def scripts(self) -> Path:
        """Extensions of a single file."""
        return self.data / "scripts"

    @property
    def settings_file(self) -> Path:
        """The options that differ from their defaults."""
        return self.data / "config.json"

    @property
    def styles_file(self) -> Path:
        """Styles in A1111's format."""
        return self.data / "styles.csv"

    @property
    def wildcards(self) -> Path:
        """Files that dynamic prompts draw from."""
        return self.data / "wildcards"

    @property
    def favourites_file(self) -> Path:
        """The gallery's favourites, one line each."""
        return self.data / "favourites.txt"

    @property
    def outputs(self) -> Path:
        """Finished images, one folder per task and day."""
        return self.data / "outputs"

    @property
    def input_folders(self) -> tuple[Path, ...]:
        """Folders whose images the page may read, including subfolders."""
        return (self.data / "inputs", self.outputs, *self.allowed_folders)

    @property
    def queue(self) -> Path:
        """Database of jobs, and the input images of waiting jobs."""
        return self.data / "queue"

    @property
    def cache(self) -> Path:
        """Data that can be computed again, such as hashes."""
        return self.data / "cache"

    @property
    def written_folders(self) -> tuple[Path, ...]:
        """Folders with subfolders in which files of this data folder are written."""
        checkpoints = tuple(
            folder for folder in self.checkpoint_folders if self.data in folder.parents
        )
        return (self.outputs, self.queue, self.cache, self.temp, *checkpoints)

    @property
    def temp(self) -> Path:
        """Pictures that are not kept: unsaved ones and uploads. For this user alone."""
        return self.data / "tmp"

    @property
    def unsaved_outputs(self) -> Path:
        """Images that are not to be saved; each is kept for a day."""
        return self.temp / "unsaved"

    @property
    def gradio_temp(self) -> Path:
        """Gradio's uploads and copies, depth estimates, and the frames of recorded runs."""
        return self.temp / "gradio"

    def display(self, path: Path) -> str:
        """Return a path as users see it: relative to the data folder if it is inside, with half characters escaped."""
        for data in (self.data, self.data.resolve()):
            if path.is_relative_to(data):
                return escape(str(path.relative_to(data)))
        return escape(str(path))
