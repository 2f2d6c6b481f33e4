"""The engine: owns all state that changes, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from PIL import Image

from modules.core.errors import NotFound, WebUIError
from modules.core.paths import Paths
from modules.engine.active_checkpoint import ActiveCheckpoint
from modules.engine.device_status import DeviceStatus
from modules.engine.executors import DeviceInfo, Executor, LoadCheckpoint
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.file_batch import FileBatch, FileBatches
from modules.engine.jobs.job import Job, JobStatus
from modules.engine.jobs.queue import JobQueue
from modules.engine.jobs.store import JobStore
from modules.engine.prompt_processing import apply_styles, reset_ineffective_options
from modules.engine.registries import Registries
from modules.engine.settings_file import SettingsFile
from modules.models.convert import convert_to_safetensors
from modules.models.manager import Checkpoint, ModelManager
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.params.image import ImageField
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
from modules.params.results import ForwardRecording, GeneratedImage
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.plan.work import EstimateDepth, RecordForward, Work
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 1.5


class Engine:
    """Accepts requests, runs them in queue order, saves the images and stores the jobs.

    Args:
        paths: The folders of the program and its data.
        executor: Runs jobs and other device work.
        tokenizer: Counts and splits prompts.
        registries: The tables of samplers, tasks, settings sections and so on.
        flag_settings: Options from the command line; they override the stored settings and are not stored.
    """

    def __init__(
        self,
        paths: Paths,
        executor: Executor,
        tokenizer: ClipTokenizer,
        registries: Registries,
        flag_settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.paths = paths
        self.executor = executor
        self.tokenizer = tokenizer
        self.models = ModelManager(
            paths.checkpoint_folders,
            paths.configs,
            paths.cache,
            paths.vae_folders,
            paths.text_encoder_folders,
            registries.families,
        )
        self.active_checkpoint = ActiveCheckpoint(
            self.models, paths, lambda: self.settings, registries.tasks
        )
        self.styles = Styles(paths.styles_file)
        self.registries = registries
        self.samplers = registries.samplers
        self.schedules = registries.schedules
        self.upscalers = registries.upscalers
        self.device_status = DeviceStatus("starting", "Starting")
        self.image_saver = ImageSaver(
            self.models,
            paths.outputs,
            paths.unsaved_outputs,
            registries.codecs,
            registries.filename_tokens,
        )
        settings_class = registries.settings_class
        self._settings_file = SettingsFile(paths.data / "config.json", settings_class)
        self.settings = settings_class()
        self.flag_settings = flag_settings
        self._requested_model: ModelSpec | None = None  # the model of the last load
        self._is_unloaded = False
        store = JobStore(paths.queue, registries.tasks, settings_class)
        self.queue = JobQueue(executor, store, self)
        self.file_batches = FileBatches(
            lambda request, save: self.queue.submit(request, self.settings, "page", save),
            self.image_saver,
        )

    # Lifecycle

    def start(self) -> None:
        """Read the settings, list the checkpoints, open the device and load the active checkpoint."""
        self.settings = self._settings_file.read().replace(**self.flag_settings)
        self.models.refresh()
        self.models.start_hashing()
        self.queue.restore(self.settings.queue_after_restart == "resumed")
        self.device_status = replace(self.device_status, text="Starting the device")
        self.executor.start(self._on_device_ready)

    @property
    def settings_path(self) -> Path:
        """Path of the settings file."""
        return self._settings_file.path

    @property
    def settings_warning(self) -> str:
        """Warning from the last read of the settings file; empty if there was no problem."""
        return self._settings_file.warning

    def stop(self) -> None:
        """Stop the running job at its next step, suspend the queued ones until the next start; wait briefly."""
        self.file_batches.interrupt_all()
        self.queue.stop()
        self.models.stop()
        if not self.executor.stop(_STOP_TIMEOUT_S):
            logger.info("The device is still busy; its unfinished picture is dropped.")
        self.queue.close()

    # Jobs

    def submit(
        self, request: GenerationRequest, source: str = "api", with_recording: bool = False
    ) -> Job:
        """Queue a request and return its job.

        Args:
            request: The request.
            source: Name of the client; sources take turns.
            with_recording: Whether the denoising of the first image is recorded, see `Job.take_recording`.

        Raises:
            NotFound: a name in the request is unknown.
            BadFile: the checkpoint cannot be used.
            UserError: the request cannot be executed.
            Cancelled: the engine is stopping.
        """
        return self.queue.submit(request, self.settings, source, with_recording=with_recording)

    def job(self, job_id: str) -> Job | FileBatch:
        """Return a queued, running or recently ended job, or a file batch.

        Raises:
            NotFound: the id is unknown, or the job ended long ago.
        """
        return self.file_batches.find(job_id) or self.queue.job(job_id)

    def status(self, job_id: str, watched: bool = False) -> JobStatus:
        """Return the status of a job or a file batch, from the job store if it ended long ago.

        Args:
            job_id: The job.
            watched: Whether a client is watching, so that previews are worth making.

        Raises:
            NotFound: the id is unknown.
        """
        try:
            job = self.job(job_id)
        except NotFound:
            return self.queue.status(job_id)
        if watched:
            job.watch()
        return job.status()

    def jobs(self) -> list[Job]:
        """Return the jobs in memory, oldest first."""
        return self.queue.jobs()

    def running_job(self) -> Job | None:
        """Return the running job, or None."""
        return self.queue.running_job()

    def interrupt(self, job_id: str | None = None) -> None:
        """Stop a job, or the running one, at its next step."""
        job = self.job(job_id) if job_id else self.running_job()
        if job is not None:
            job.interrupt()

    def estimate_depth(self, image: ImageField, size: tuple[int, int]) -> Image.Image:
        """Return the active checkpoint's depth estimate of an image, in greyscale, white for near; blocks until it is done.

        Raises:
            UserError: the checkpoint has no estimator.
        """
        return self._run_work(EstimateDepth(self._model_spec(), image, size))

    def show_forward_process(
        self, image: ImageField, size: tuple[int, int], count: int, seed: int, in_pixels: bool
    ) -> ForwardRecording:
        """Return the forward process of an image with the active checkpoint's sigmas; blocks until it is done.

        Raises:
            UserError: `count` is too large.
        """
        return self._run_work(
            RecordForward(self._model_spec(), image, size, count, seed, in_pixels)
        )

    def _model_spec(self) -> ModelSpec:
        return make_model_spec(self.models, self.find_checkpoint(), self.settings)

    def _run_work(self, work: Work) -> Any:  # the result type depends on the type of work
        self.queue.raise_if_stopping()
        return self.executor.submit_work(work).result()

    # QueueHooks, see engine/jobs/job_maker

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request with these settings."""
        checkpoint = self.find_checkpoint(request.sd_model_checkpoint)
        request = apply_styles(
            request, [self.styles.get(name) for name in request.styles], settings
        )
        tables = self.samplers, self.schedules, settings, self.upscalers
        return reset_ineffective_options(
            make_plan(request, self.models, checkpoint, *tables), self.tokenizer
        )

    def save_image(self, plan: Plan, index: int, image: Image.Image) -> GeneratedImage:
        """Save one image."""
        return self.image_saver.save(plan, index, image)

    def on_images_complete(self, job: Job) -> None:
        """Save the grid of a job's images, before the job ends."""
        job.grid_path = self.image_saver.save_grid(job.plan, job.status().images, job.on_note)

    def on_success(self, job: Job) -> None:
        """Set the device status to ready with the job's checkpoint, even after an earlier failure."""
        if self.device_status.phase != "loading":
            name = job.plan.checkpoint.name
            self.device_status = replace(
                self.device_status, phase="ready", text="Ready", checkpoint=name
            )

    # Checkpoints

    def find_checkpoint(self, name: str = "") -> Checkpoint:
        """Return the named checkpoint, or the active one.

        Raises:
            NotFound: there is no such file, or none at all.
            BadFile: the file cannot be used.
        """
        return self.active_checkpoint.find(name)

    def select_checkpoint(self, name: str) -> Checkpoint:
        """Make a checkpoint the active one, store the setting, and start loading it."""
        self.change_settings({"sd_model_checkpoint": name})
        return self.find_checkpoint()

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Change settings, store them, and load the active checkpoint accordingly; all or nothing.

        Raises:
            NotFound: there is no such checkpoint or VAE.
            BadFile: the checkpoint cannot be used.
            UserError: an option is unknown or its value is not valid.
        """
        settings = self.settings.replace(**changes)
        declared = params_of(type(settings))
        if all(declared[name].section != "model" for name in changes):
            self.settings = settings
            self._settings_file.update(changes)
            return
        if "sd_model_checkpoint" in changes:
            checkpoint = self.models.find(settings.sd_model_checkpoint)
            changes = {**changes, "sd_model_checkpoint": checkpoint.name}
            settings = settings.replace(sd_model_checkpoint=checkpoint.name)
        else:
            checkpoint = self.find_checkpoint()
        model = make_model_spec(self.models, checkpoint, settings)
        self.settings = settings
        self._settings_file.update(changes)
        if (
            "sd_model_checkpoint" in changes
            or model != self._requested_model
            or self.device_status.phase == "failed"
        ):
            self._load(model)

    def unload(self) -> Future[None]:
        """Unload all checkpoints once the work queued before is done; the next job loads its own again."""
        self._is_unloaded = True
        future = self.executor.unload()
        future.add_done_callback(lambda _: self._on_unloaded())
        return future

    def reload(self) -> None:
        """Start loading the active checkpoint unless it is loaded.

        Raises:
            NotFound: there is no checkpoint.
            BadFile: the checkpoint cannot be used.
        """
        model = self._model_spec()
        if self._is_unloaded or model != self._requested_model:
            self._load(model)

    def set_prediction_type(self, prediction: str) -> None:
        """Set the prediction type of the active checkpoint; "" detects it from the .yaml and the network.

        Raises:
            UserError: there is no such prediction type.
        """
        name = self.find_checkpoint().name
        others = {k: v for k, v in self.settings.sd_predictions.items() if k != name}
        self.change_settings(
            {"sd_predictions": {**others, name: prediction} if prediction else others}
        )

    def convert_checkpoint(self) -> Checkpoint:
        """Convert the active .ckpt to .safetensors, select that file and return it.

        Raises:
            UserError: there is nothing to convert, or the new file's name is taken.
            BadFile: the .ckpt cannot be read.
            StorageError: the new file cannot be written.
        """
        ckpt = self.find_checkpoint()
        safetensors = convert_to_safetensors(ckpt.path)
        self.models.refresh()
        return self.select_checkpoint(str(PurePosixPath(ckpt.name).with_suffix(safetensors.suffix)))

    def choices(self, name: str) -> list[str]:
        """Return the choices of a field with `choices=name`."""
        lists: dict[str, Callable[[], list[str]]] = {
            "samplers": self.samplers.names,
            "schedules": self.schedules.names,
            "checkpoints": lambda: [checkpoint.title for checkpoint in self.models.checkpoints()],
            "vaes": self.models.vaes.names,
            "styles": self.styles.names,
            "hires upscalers": self.upscalers.names,
        }
        return lists[name]()

    # Callbacks of the executor

    def _on_device_ready(self, info: DeviceInfo | None, failure: str) -> None:
        if info is None:
            self.device_status = DeviceStatus("failed", failure)
            self.queue.open(has_device=False)
            return
        logger.info("Device: %s.", info.label)
        warning = " ".join(filter(None, (info.warning, self._settings_file.warning)))
        self.device_status = DeviceStatus("ready", "Ready", device=info.label, warning=warning)
        try:
            checkpoint = self.find_checkpoint()
            # For this run only: a file added later does not replace the one in use.
            self.settings = self.settings.replace(sd_model_checkpoint=checkpoint.name)
            self._load(make_model_spec(self.models, checkpoint, self.settings))
        except WebUIError as error:
            logger.warning("%s", error)
            self.device_status = replace(self.device_status, phase="failed", text=str(error))
        self.queue.open(has_device=True)

    def _load(self, model: ModelSpec) -> None:
        self._requested_model, self._is_unloaded = model, False
        checkpoint = model.checkpoint
        self.device_status = replace(
            self.device_status, phase="loading", text=f"Loading {checkpoint.name}"
        )
        self.queue.load_when_idle(LoadCheckpoint(model), partial(self._on_loaded, checkpoint))

    def _on_unloaded(self) -> None:
        self.device_status = replace(self.device_status, phase="ready", text="Ready", checkpoint="")

    def _on_loaded(self, checkpoint: Checkpoint, future: Future[None]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.device_status = replace(
                self.device_status, phase="ready", text="Ready", checkpoint=checkpoint.name
            )
        else:
            logger.warning("%s", error)
            self.device_status = replace(
                self.device_status, phase="failed", text=str(error), checkpoint=""
            )
