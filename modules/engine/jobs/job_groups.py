"""Starts groups of jobs, finds them by id, and goes on with those of the last run."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from modules.core.errors import NotFound, UserError, WebUIError, internal_error
from modules.core.registry import Registry
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.cell_run import GroupSpec
from modules.engine.jobs.group_record import CellSummary, GroupRecord
from modules.engine.jobs.job_group import JobGroup
from modules.engine.jobs.job_status import JobStatus
from modules.engine.jobs.queue import JobQueue
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.plan.planner import draw_seed
from modules.scripts.protocol import Script, ScriptTable

logger = logging.getLogger(__name__)

# Ended groups beyond this number are only known to the job store.
_MAX_ENDED_IN_MEMORY = 50


class JobGroups:
    """Groups of this run.

    Args:
        scripts: The scripts by name.
        queue: Runs the jobs and has the job store.
        image_saver: Saves their images.
    """

    def __init__(self, scripts: Registry[Script], queue: JobQueue, image_saver: ImageSaver) -> None:
        self._scripts = scripts
        self._queue = queue
        self._store = queue.store.groups
        self._image_saver = image_saver
        self._groups: dict[str, JobGroup] = {}

    def start(
        self,
        script_name: str,
        request: JobRequest,
        args: Mapping[str, Any],
        settings: Settings,
        source: str,
    ) -> JobGroup:
        """Run a script as a group and return it.

        Args:
            script_name: Name of the script.
            request: The request that the script starts from, with a named checkpoint if it has one.
            args: The script's arguments by name.
            settings: The options of all its jobs.
            source: Name of the client; sources take turns.

        Raises:
            NotFound: there is no such script.
            UserError: an argument is not valid.
            Cancelled: the server is stopping.
        """
        self._queue.raise_if_stopping()
        script = self._scripts.get(script_name)
        if script.has_one_seed and isinstance(request, GenerationRequest):
            seeds = {"seed": request.seed, "subseed": request.subseed}
            drawn = {name: draw_seed() for name, seed in seeds.items() if seed == -1}
            request = request.replace(**drawn)
        request, valid_args = self.prepare(script, request, args, settings)
        spec = GroupSpec(secrets.token_urlsafe(16), script, request, valid_args, settings, source)
        self._add_to_store(spec)
        group = JobGroup(spec, self._queue, self._image_saver)
        self._register(group)
        group.start()
        return group

    def prepare(
        self,
        script: Script,
        request: JobRequest,
        args: Mapping[str, Any],
        settings: Settings,
    ) -> tuple[JobRequest, BaseModel]:
        """Return request and arguments as a script runs with them.

        Raises:
            UserError: an argument is not valid, or there would be too many cells.
            WebUIError: the script would fail with them.
        """
        valid_args = validate(script.args_type, args)
        if script.prepare is not None:
            request, valid_args = script.prepare(request, valid_args)
        count, most = script.cell_count(valid_args), settings.script_max_cells
        if script.tasks and count > most:
            raise UserError(
                f"The {script.name} would make {count} {script.noun}s; at most {most} are allowed.",
                "Use fewer values, or raise the limit in the settings of the queue.",
            )
        if script.requests_to_check is not None:
            for subject, checked in script.requests_to_check(request, valid_args):
                self._check(subject, checked, settings)
        return request, valid_args

    def _find_script(self, group_id: str) -> tuple[Script, BaseModel] | None:
        """Return the script of a group and its arguments, None if the group or the script is unknown."""
        group = self.find(group_id)
        if group is not None:
            return group.spec.script, group.spec.args
        stored = self._store.script(group_id)
        if stored is None or stored[0] not in self._scripts.names():
            return None
        script = self._scripts.get(stored[0])
        return script, validate(script.args_type, json.loads(stored[1]))

    def _check(self, subject: str, request: JobRequest, settings: Settings) -> None:
        try:
            self._queue.make_plan(request, settings)
        except WebUIError as error:
            raise type(error)(f"{subject}: {error.message}", error.hint) from None

    def restore(self) -> bool:
        """Restore the groups that the last stop interrupted; return whether there are any. `resume` runs them."""
        for record in self._store.list_unended():
            try:
                spec = self._restore_spec(record)
            except Exception as error:  # one record must not keep the server from starting
                reason = internal_error(error)
                bug = None if reason is error else error
                logger.warning(
                    "A group of jobs of the last run cannot go on: %s", reason, exc_info=bug
                )
                self._store.log_end(record.id, "failed", str(reason), record.notes)
                continue
            self._register(JobGroup(spec, self._queue, self._image_saver))
        return bool(self._groups)

    def resume(self) -> None:
        """Go on with the restored groups."""
        for group in list(self._groups.values()):
            group.start()

    def find(self, group_id: str) -> JobGroup | None:
        """Return a group of this run, or None if it is unknown or too old."""
        return self._groups.get(group_id)

    def stored_status(self, group_id: str) -> JobStatus | None:
        """Return the status of a group from the job store, or None if the id is unknown."""
        record = self._store.record(group_id)
        return record.status() if record is not None else None

    def args(self, group_id: str) -> Mapping[str, Any]:
        """Return the arguments of a group's script by name.

        Raises:
            NotFound: the id is unknown.
        """
        record = self._store.record(group_id)
        if record is None:
            raise NotFound("This job is no longer known.")
        return record.read_args()

    def table(self, group_id: str) -> ScriptTable | None:
        """Return the positions of a group's cells in a table; None for an unknown id, and for a script without one."""
        script, args = self._find_script(group_id) or (None, None)
        return script.table(args) if script is not None and script.table is not None else None

    def shows_cells(self, group_id: str) -> bool:
        """Return whether the images of a group's cells belong to its result; True for an unknown id."""
        found = self._find_script(group_id)
        return found is None or found[0].shows_cells(found[1])

    def cells(self, group_id: str) -> list[CellSummary]:
        """Return the cells of a group that have begun, in order."""
        group = self.find(group_id)
        return group.cells() if group is not None else self._store.cells(group_id)

    def suspend_all(self) -> None:
        """End all groups for this run; the next start goes on with them."""
        for group in list(self._groups.values()):
            group.suspend()

    def _add_to_store(self, spec: GroupSpec) -> None:
        args = spec.args.model_dump_json()
        store = self._queue.store
        with store.hold_request(spec.request, spec.settings) as stored:
            self._store.add(
                GroupRecord(
                    spec.id, spec.script.name, args, stored, spec.source, "running", "", (), ()
                )
            )

    def _restore_spec(self, record: GroupRecord) -> GroupSpec:
        script = self._scripts.get(record.script)
        request, settings = self._queue.store.restore_request(record.stored_request)
        args = validate(script.args_type, record.read_args())
        return GroupSpec(record.id, script, request, args, settings, record.source)

    def _register(self, group: JobGroup) -> None:
        self._groups[group.id] = group
        ended = [group.id for group in self._groups.values() if group.status().has_ended]
        for old_id in ended[:-_MAX_ENDED_IN_MEMORY]:
            self._groups.pop(old_id, None)
