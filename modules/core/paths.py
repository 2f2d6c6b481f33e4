"""Every folder the program reads or writes, derived from two roots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where things lie. Folders are made by whoever first writes to them.

    Args:
        root: The cloned repository: code, configs and the demo checkpoint.
        data: What the user owns: models, outputs, settings, caches (`--data-dir`; the root by default).
        ckpt_dir: A further folder with checkpoints (`--ckpt-dir`).
        allowed_folders: Further folders whose pictures a batch may read (`--gradio-allowed-path`).
    """

    root: Path
    data: Path
    ckpt_dir: Path | None = None
    allowed_folders: tuple[Path, ...] = ()

    @property
    def configs(self) -> Path:
        """LDM .yaml files and the tokenizer's vocabulary."""
        return self.root / "configs"

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Folders scanned for checkpoints: the user's first, the box's demo folder last."""
        folders = [self.data / "models" / "Stable-diffusion"]
        if self.ckpt_dir is not None:
            folders.insert(0, self.ckpt_dir)
        shipped = self.root / "models" / "Stable-diffusion"
        if shipped not in folders:
            folders.append(shipped)
        return tuple(folders)

    @property
    def vae_folders(self) -> tuple[Path, ...]:
        """Folders scanned for VAEs in files of their own."""
        return (self.data / "models" / "VAE",)

    @property
    def text_encoder_folders(self) -> tuple[Path, ...]:
        """Folders scanned for text encoders in files of their own, under Forge's and ComfyUI's names."""
        names = ("text_encoder", "text_encoders", "clip")
        return tuple(self.data / "models" / name for name in names)

    @property
    def styles_file(self) -> Path:
        """Saved prompts, in A1111's file."""
        return self.data / "styles.csv"

    @property
    def outputs(self) -> Path:
        """Finished images, one folder per task and day."""
        return self.data / "outputs"

    @property
    def input_folders(self) -> tuple[Path, ...]:
        """Folders whose pictures the page may have read, with all that lies below them."""
        return (self.data / "inputs", self.outputs, *self.allowed_folders)

    @property
    def queue(self) -> Path:
        """Jobs of this and earlier runs, and the pictures that waiting ones were given."""
        return self.data / "queue"

    @property
    def cache(self) -> Path:
        """What can be computed again, such as hashes."""
        return self.data / "cache"

    @property
    def unsaved_outputs(self) -> Path:
        """Pictures that nobody asked to save; each stays for a day."""
        return self.data / "tmp" / "unsaved"

    @property
    def gradio_temp(self) -> Path:
        """Gradio's uploads and copies, depth estimates, and the frames of recorded runs."""
        return self.data / "tmp" / "gradio"
