"""The engine: owns everything that changes, and no more than that."""

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
from modules.engine.settings_file import SettingsFile
from modules.models.convert import convert_to_safetensors
from modules.models.manager import Checkpoint, ModelManager
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.models.upscalers import UPSCALERS
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
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 1.5


class Engine:
    """Takes requests in, has them carried out in order, saves and remembers what came of them.

    Args:
        paths: Where things lie.
        executor: Carries out the work.
        tokenizer: Counts and splits prompts.
        flag_settings: Options of the command line, which come before the remembered ones and are not remembered.
    """

    def __init__(
        self,
        paths: Paths,
        executor: Executor,
        tokenizer: ClipTokenizer,
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
        )
        self.active_checkpoint = ActiveCheckpoint(self.models, paths, lambda: self.settings)
        self.styles = Styles(paths.styles_file)
        self.samplers = SAMPLERS.copy()
        self.schedules = SCHEDULES.copy()
        self.upscalers = UPSCALERS.copy()
        self.device_status = DeviceStatus("starting", "Starting")
        self.image_saver = ImageSaver(self.models, paths.outputs, paths.unsaved_outputs)
        self._settings_file = SettingsFile(paths.data / "config.json")
        self.settings = Settings()
        self.flag_settings = flag_settings
        self._requested_model: ModelSpec | None = None  # what the device was last told to load
        self._is_unloaded = False
        self.queue = JobQueue(executor, JobStore(paths.queue), self)
        self.file_batches = FileBatches(
            lambda request, keep: self.queue.submit(request, self.settings, "page", keep),
            self.image_saver,
        )

    # Life

    def start(self) -> None:
        """Read the settings, list the checkpoints, open the device and load the chosen checkpoint."""
        self.settings = self._settings_file.read().replace(**self.flag_settings)
        self.models.refresh()
        self.models.start_hashing()
        self.queue.restore(self.settings.queue_after_restart == "resumed")
        self.device_status = replace(self.device_status, text="Starting the device")
        self.executor.start(self._on_device_ready)

    @property
    def settings_path(self) -> Path:
        """Where the options are kept."""
        return self._settings_file.path

    @property
    def settings_warning(self) -> str:
        """What a user should know of that file; empty when all is well."""
        return self._settings_file.warning

    def stop(self) -> None:
        """Stop the running job at its next step, leave the waiting ones for the next start; wait a moment."""
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
        """Put a request in the queue.

        Args:
            request: What to make.
            source: Who asks: sources take turns.
            with_recording: Whether the way to the first picture is written down, see `Job.take_recording`.

        Raises:
            NotFound: a name in the request answers to nothing.
            BadFile: the checkpoint cannot be used.
            UserError: the request cannot be carried out as it stands.
            Cancelled: the engine stops.
        """
        return self.queue.submit(request, self.settings, source, with_recording=with_recording)

    def job(self, job_id: str) -> Job | FileBatch:
        """Return a waiting, running or lately ended job, or a batch of them.

        Raises:
            NotFound: it never was, or is long past.
        """
        return self.file_batches.find(job_id) or self.queue.job(job_id)

    def status(self, job_id: str, watched: bool = False) -> JobStatus:
        """Return what is known of a job or a batch, however long past.

        Args:
            job_id: The job.
            watched: Whether someone looks, so that previews are worth making.

        Raises:
            NotFound: it never was.
        """
        try:
            job = self.job(job_id)
        except NotFound:
            return self.queue.status(job_id)
        if watched:
            job.watch()
        return job.status()

    def jobs(self) -> list[Job]:
        """Return the remembered jobs, oldest first."""
        return self.queue.jobs()

    def running_job(self) -> Job | None:
        """Return the job that the device works on."""
        return self.queue.running_job()

    def interrupt(self, job_id: str | None = None) -> None:
        """Stop a job, or the running one, at its next step."""
        job = self.job(job_id) if job_id else self.running_job()
        if job is not None:
            job.interrupt()

    def estimate_depth(self, image: ImageField, size: tuple[int, int]) -> Image.Image:
        """Return the depth of a picture as the chosen checkpoint estimates it, in grey, white for near; waits for it.

        Raises:
            UserError: the checkpoint has no estimator.
        """
        return self._run_work(EstimateDepth(self._model_spec(), image, size))

    def show_forward_process(
        self, image: ImageField, size: tuple[int, int], count: int, seed: int, in_pixels: bool
    ) -> ForwardRecording:
        """Return how a picture becomes noise under the chosen checkpoint's noise levels; waits for it.

        Raises:
            UserError: so many moments cannot be shown.
        """
        return self._run_work(
            RecordForward(self._model_spec(), image, size, count, seed, in_pixels)
        )

    def _model_spec(self) -> ModelSpec:
        return make_model_spec(self.models, self.find_checkpoint(), self.settings)

    def _run_work(self, work: Work) -> Any:  # what the kind of question says
        self.queue.raise_if_stopping()
        return self.executor.submit_work(work).result()

    # What the queue needs, see engine/queue.Owner

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request under these options."""
        checkpoint = self.find_checkpoint(request.sd_model_checkpoint)
        request = apply_styles(
            request, [self.styles.get(name) for name in request.styles], settings
        )
        tables = self.samplers, self.schedules, settings, self.upscalers
        return reset_ineffective_options(
            make_plan(request, self.models, checkpoint, *tables), self.tokenizer
        )

    def save_image(self, plan: Plan, index: int, image: Image.Image) -> GeneratedImage:
        """Save one picture."""
        return self.image_saver.save(plan, index, image)

    def on_images_complete(self, job: Job) -> None:
        """Put the pictures of a job into a grid, before it ends."""
        job.grid_path = self.image_saver.save_grid(job.plan, job.status().images, job.on_note)

    def on_success(self, job: Job) -> None:
        """Note that the job's checkpoint works, whatever failed before."""
        if self.device_status.phase != "loading":
            name = job.plan.checkpoint.name
            self.device_status = replace(
                self.device_status, phase="ready", text="Ready", checkpoint=name
            )

    # Checkpoints

    def find_checkpoint(self, name: str = "") -> Checkpoint:
        """Return the named checkpoint, or the chosen one.

        Raises:
            NotFound: there is no such file, or none at all.
            BadFile: the file cannot be used.
        """
        return self.active_checkpoint.find(name)

    def select_checkpoint(self, name: str) -> Checkpoint:
        """Make a checkpoint the one for new jobs, remember it, and begin to load it."""
        self.change_settings({"sd_model_checkpoint": name})
        return self.find_checkpoint()

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Change options, remember them, and load the chosen checkpoint as they say; all or nothing.

        Raises:
            NotFound: there is no such checkpoint or VAE.
            BadFile: the checkpoint cannot be used.
            UserError: an option is unknown or its value is not valid.
        """
        settings = self.settings.replace(**changes)
        declared = params_of(Settings)
        if all(declared[name].section != "model" for name in changes):
            self.settings = settings
            self._settings_file.update(changes)
            return
        if "sd_model_checkpoint" in changes:
            found = self.models.find(settings.sd_model_checkpoint)
            changes = {**changes, "sd_model_checkpoint": found.name}
            settings = settings.replace(sd_model_checkpoint=found.name)
        else:
            found = self.find_checkpoint()
        plan = make_model_spec(self.models, found, settings)
        self.settings = settings
        self._settings_file.update(changes)
        if (
            "sd_model_checkpoint" in changes
            or plan != self._requested_model
            or self.device_status.phase == "failed"
        ):
            self._load(plan)

    def unload(self) -> Future[None]:
        """Let go of the loaded checkpoint once the jobs before it are done; the next job loads it again."""
        self._is_unloaded = True
        future = self.executor.unload()
        future.add_done_callback(lambda _: self._on_unloaded())
        return future

    def reload(self) -> None:
        """Begin to load the chosen checkpoint unless it is loaded.

        Raises:
            NotFound: there is no checkpoint.
            BadFile: the checkpoint cannot be used.
        """
        plan = self._model_spec()
        if self._is_unloaded or plan != self._requested_model:
            self._load(plan)

    def set_prediction_type(self, prediction: str) -> None:
        """Say what the chosen checkpoint's network predicts; "" leaves it to the .yaml and the network.

        Raises:
            UserError: there is no such prediction.
        """
        name = self.find_checkpoint().name
        others = {k: v for k, v in self.settings.sd_predictions.items() if k != name}
        self.change_settings(
            {"sd_predictions": {**others, name: prediction} if prediction else others}
        )

    def convert_checkpoint(self) -> Checkpoint:
        """Write the chosen .ckpt as .safetensors, choose that file and return it.

        Raises:
            UserError: there is nothing to convert, or the new file's name is taken.
            BadFile: the .ckpt cannot be read.
            StorageError: the new file cannot be written.
        """
        old = self.find_checkpoint()
        written = convert_to_safetensors(old.path)
        self.models.refresh()
        return self.select_checkpoint(str(PurePosixPath(old.name).with_suffix(written.suffix)))

    def choices(self, name: str) -> list[str]:
        """Return what a field with `choices=name` offers."""
        lists: dict[str, Callable[[], list[str]]] = {
            "samplers": self.samplers.names,
            "schedules": self.schedules.names,
            "checkpoints": lambda: [found.title for found in self.models.checkpoints()],
            "vaes": self.models.vaes.names,
            "styles": self.styles.names,
            "hires upscalers": self.upscalers.names,
        }
        return lists[name]()

    # What the executor reports

    def _on_device_ready(self, info: DeviceInfo | None, failure: str) -> None:
        if info is None:
            self.device_status = DeviceStatus("failed", failure)
            self.queue.open(has_device=False)
            return
        logger.info("Device: %s.", info.label)
        warning = " ".join(filter(None, (info.warning, self._settings_file.warning)))
        self.device_status = DeviceStatus("ready", "Ready", device=info.label, warning=warning)
        try:
            found = self.find_checkpoint()
            # For this run only: a file that comes later does not take the place of the one in use.
            self.settings = self.settings.replace(sd_model_checkpoint=found.name)
            self._load(make_model_spec(self.models, found, self.settings))
        except WebUIError as error:
            logger.warning("%s", error)
            self.device_status = replace(self.device_status, phase="failed", text=str(error))
        self.queue.open(has_device=True)

    def _load(self, plan: ModelSpec) -> None:
        self._requested_model, self._is_unloaded = plan, False
        checkpoint = plan.checkpoint
        self.device_status = replace(
            self.device_status, phase="loading", text=f"Loading {checkpoint.name}"
        )
        self.queue.load_when_idle(LoadCheckpoint(plan), partial(self._on_loaded, checkpoint))

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
