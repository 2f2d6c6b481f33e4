"""The engine: owns all state that changes, and nothing else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar

from PIL import Image

from modules.core.atomic import remove_older_leftovers
from modules.core.errors import NotFound, WebUIError, internal_error
from modules.core.paths import Paths
from modules.engine.active_checkpoint import ActiveCheckpoint
from modules.engine.checkpoint_loader import CheckpointLoader, DeviceStatus
from modules.engine.choices import CHOICES, ChoiceSources
from modules.engine.downloads.downloads import Downloads
from modules.engine.executors import DeviceInfo, Executor, may_come_yet
from modules.engine.extensions.shelf import ExtensionShelf
from modules.engine.gallery.gallery import Gallery
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_group import JobGroup
from modules.engine.jobs.job_groups import JobGroups
from modules.engine.jobs.job_status import JobStatus
from modules.engine.jobs.queue import JobQueue
from modules.engine.jobs.store import JobStore
from modules.engine.networks.cards import CardSources, NetworkCards
from modules.engine.process.store import ProcessStore
from modules.engine.registries import Registries
from modules.engine.settings_file import SettingsFile
from modules.models.checkpoint import Checkpoint
from modules.models.files.convert import convert_to_safetensors
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.models.upscaler_list import UpscalerList
from modules.params.image import ImageField
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest
from modules.params.requests.job_request import JobRequest
from modules.params.results import ForwardRecording
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.jobs.kinds import JobPlanner, PlanSources
from modules.plan.planner import Planner
from modules.plan.work import EstimateDepth, RecordForward, Work
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer

R = TypeVar("R")
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
        self.registries = registries
        self.models = ModelIndex.from_paths(paths, registries.kinds, registries.families)
        self.downloads = Downloads(paths, self.models)
        demo = paths.root / "models" / "Stable-diffusion" / "demo"
        checkpoints = CheckpointFinder(self.models, paths.checkpoint_folders[0], demo)
        self.active_checkpoint = ActiveCheckpoint(
            checkpoints, lambda: self.settings, registries.tasks
        )
        self.styles = Styles(paths.styles_file)
        self.samplers = registries.samplers
        self.schedules = registries.schedules
        self.upscalers = UpscalerList(registries.upscalers, self.models)
        tables = registries.plan_tables()
        self.planner = Planner(checkpoints, self.styles, tables, tokenizer, paths.wildcards)
        embeddings = self.planner.vocabulary.listing
        self.networks = NetworkCards(CardSources(self.models, embeddings, lambda: self.settings))
        self.image_saver = ImageSaver(
            self.models,
            paths.outputs,
            paths.unsaved_outputs,
            registries.codecs,
            registries.filename_tokens,
        )
        settings_class = registries.settings_class
        self._settings_file = SettingsFile(paths.settings_file, settings_class)
        self.extensions = ExtensionShelf(
            paths, registries.extensions, self._settings_file, self.downloads
        )
        self.settings, self.flag_settings = settings_class(), flag_settings
        self.gallery = Gallery(
            paths,
            lambda: self.image_saver.fallback_dir,
            lambda: self.settings.gallery_a1111_folder,
            registries.json_formats,
        )
        store = JobStore(paths.queue, registries.request_class, settings_class)
        sources = PlanSources(self.models, tables, paths.face_detector)
        planner = JobPlanner(self.planner, sources, registries.job_kinds)
        self._loader = CheckpointLoader(
            executor, lambda work, on_loaded: self.queue.load_when_idle(work, on_loaded)
        )
        self.queue = JobQueue(executor, store, planner.plan, self.image_saver, self._on_job_done)
        self.groups = JobGroups(registries.scripts, self.queue, self.image_saver)
        self.processes = ProcessStore()

    # Lifecycle

    def start(self) -> None:
        """Read the settings, list the checkpoints, open the device and load the active checkpoint."""
        started_at = time.time()
        self.settings = self._settings_file.read().replace(**self.flag_settings)
        self.models.refresh()
        self.models.start_hashing()
        self.models.read_ahead()
        self.downloads.restore()
        self.queue.restore(self.settings.queue_after_restart == "resumed")
        if self.groups.restore() and self.settings.queue_after_restart == "paused":
            self.queue.pause()
        tidy = partial(self._remove_leftovers, started_at)
        threading.Thread(target=tidy, name="tidy", daemon=True).start()
        self._loader.on_device_opening()
        self.executor.start(self._on_device_ready)

    def _remove_leftovers(self, started_at: float, others_timeout_s: float = 3600) -> None:
        """Remove the unfinished files of killed servers; those of another server on this data folder only when old."""
        is_alone = self.queue.store.is_durable()
        before = started_at - (0 if is_alone else others_timeout_s)
        remove_older_leftovers(self.paths.data, before, recursive=False)
        for folder in (*self.paths.written_folders, self.image_saver.fallback_dir):
            remove_older_leftovers(folder, before)

    @property
    def device_status(self) -> DeviceStatus:
        """Return what the device is doing."""
        return self._loader.status

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
        self.groups.suspend_all()
        self.queue.stop()
        self.gallery.stop()
        self.downloads.stop()
        self.models.stop()
        if not self.executor.stop(_STOP_TIMEOUT_S):
            logger.info("The device is still busy; its unfinished picture is dropped.")
        self.queue.close()

    # Jobs

    def submit(self, request: JobRequest, source: str = "api", with_recording: bool = False) -> Job:
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

    def run_script(
        self, name: str, request: JobRequest, args: Mapping[str, Any], source: str = "api"
    ) -> JobGroup:
        """Run a script on a request as a group of jobs, which goes on after a restart; see `JobGroups.start`.

        Raises:
            WebUIError: there is no such script or checkpoint, an argument is not valid, or the engine is stopping.
        """
        if isinstance(request, GenerationRequest):
            checkpoint = self.find_checkpoint(request.sd_model_checkpoint)
            request = request.replace(sd_model_checkpoint=checkpoint.name)
        return self.groups.start(name, request, args, self.settings, source)

    def job(self, job_id: str) -> Job | JobGroup:
        """Return a queued, running or recently ended job, or a group of jobs.

        Raises:
            NotFound: the id is unknown, or the job ended long ago.
        """
        return self.groups.find(job_id) or self.queue.job(job_id)

    def status(self, job_id: str, watched: bool = False) -> JobStatus:
        """Return the status of a job or a group, from the job store if it ended long ago.

        Args:
            job_id: The job.
            watched: Whether a client is watching, so that previews are worth making.

        Raises:
            NotFound: the id is unknown.
        """
        try:
            job = self.job(job_id)
        except NotFound:
            return self.groups.stored_status(job_id) or self.queue.status(job_id)
        if watched:
            job.watch()
        return job.status()

    def jobs(self) -> list[Job]:
        """Return the jobs in memory, oldest first."""
        return self.queue.jobs()

    def running_job(self) -> Job | None:
        """Return the oldest running job, or None."""
        return self.queue.running_job()

    def interrupt(self, job_id: str | None = None) -> None:
        """Stop a job, or the oldest running one, at its next step."""
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

    def _on_job_done(self, job: Job) -> None:
        for kind in job.plan.changed_kinds:
            self.models.refresh(kind)
        self._loader.on_success(job)

    def _model_spec(self) -> ModelSpec:
        return make_model_spec(self.models, self.find_checkpoint(), self.settings)

    def _run_work(self, work: Work[R]) -> R:
        self.queue.raise_if_stopping()
        return self.executor.submit(work).result()

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
            StorageError: they apply until the server stops, but could not be stored.
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
            checkpoint = self.models.find_checkpoint(settings.sd_model_checkpoint)
            changes = {**changes, "sd_model_checkpoint": checkpoint.name}
            settings = settings.replace(sd_model_checkpoint=checkpoint.name)
        else:
            checkpoint = self.find_checkpoint()
        model = make_model_spec(self.models, checkpoint, settings)
        limit_changes = settings.sd_checkpoints_limit != self.settings.sd_checkpoints_limit
        self.settings = settings
        if "sd_model_checkpoint" in changes or limit_changes or self._loader.needs_load(model):
            self._loader.load(model, settings.sd_checkpoints_limit)
        self._settings_file.update(changes)

    def unload(self) -> Future[None]:
        """Unload all checkpoints once the work queued before is done; the next job loads its own again."""
        return self._loader.unload()

    def reload(self) -> None:
        """Start loading the active checkpoint unless it is loaded.

        Raises:
            NotFound: there is no checkpoint.
            BadFile: the checkpoint cannot be used.
        """
        self._loader.reload(self._model_spec(), self.settings.sd_checkpoints_limit)

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
        return CHOICES[name](ChoiceSources(self.registries, self.models, self.styles))

    def _on_device_ready(self, info: DeviceInfo | None, failure: str) -> None:
        if info is None:
            self._loader.on_failure(failure)
            if not may_come_yet(
                self.executor.workers()
            ):  # else jobs wait for the workers of a cluster
                self.queue.open(has_device=False)
            self._start_gallery()
            return
        logger.info("Device: %s.", info.label)
        self._loader.on_device_ready(info, self._settings_file.warning)
        try:
            self.groups.resume()
            checkpoint = self.find_checkpoint()
            # For this run only: a file added later does not replace the one in use.
            self.settings = self.settings.replace(sd_model_checkpoint=checkpoint.name)
            self._loader.load(self._model_spec(), self.settings.sd_checkpoints_limit)
        except WebUIError as error:
            logger.warning("%s", error)
            self._loader.on_failure(str(error))
        except Exception as error:  # jobs with another checkpoint may run
            logger.exception("The checkpoint could not be chosen.")
            self._loader.on_failure(str(internal_error(error)))
        finally:
            self.queue.open(has_device=True)
            self._start_gallery()

    def _start_gallery(self) -> None:
        """Index the saved images, once the start needs the processor no longer and if there is a page to show them."""
        if self.registries.serves_page:
            self.gallery.start()
