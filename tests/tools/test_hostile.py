"""The tool that tries hostile input on a server: a sample of it, all of it, and what it counts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tools.hostile import Report, Step, try_all
from tools.hostile_opcodes import code_cases
from tools.hostile_server import SECRET, Answer, HostileServer

SAMPLE_EVERY = 150


class FakeServer(HostileServer):
    """A server whose answers and memory are given."""

    memory = 0
    busy = 0.0

    def busy_s(self):
        self.busy += 3
        return self.busy

    def start(self):
        self.memory = 0

    def revive(self):
        return True

    def reset_peak(self):
        return self.memory

    def peak_mib(self):
        return self.memory


def seen(tmp_path, answer, memory=0, canary=False):
    server = FakeServer(tmp_path)

    def run(server):
        server.memory += memory
        if canary:
            (tmp_path / "canary").touch()
        return answer

    report = try_all(server, {"files": [Step("a", run)]}, 60, tmp_path / "canary")
    return [kind for kind, _, _ in report.faults]


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (Answer(200, b"{}"), []),
        (Answer(422, b"{}"), []),
        (Answer(503, b"{}"), []),
        (Answer(500, b"{}"), ["5xx"]),
        (Answer(599, b"timed out"), ["5xx"]),
        (Answer(200, SECRET), ["5xx"]),
    ],
)
def test_an_error_no_answer_and_a_leak_are_faults(tmp_path, answer, kinds):
    assert seen(tmp_path, answer) == kinds


def test_grown_memory_and_code_that_ran_are_faults(tmp_path):
    assert seen(tmp_path, Answer(200, b""), memory=301) == ["memory"]
    assert seen(tmp_path, Answer(200, b""), canary=True) == ["5xx"]


def test_cases_without_time_are_counted(tmp_path):
    step = Step("a", lambda _: Answer(200, b""))
    report = try_all(FakeServer(tmp_path), {"files": [step] * 3}, -1, tmp_path / "canary")
    assert report.left["files"] == 3
    assert report.lines()[0].endswith("without time: 3")


def test_the_report_counts_a_case_with_two_faults_once():
    report = Report()
    report.tried["files"] = 3
    report.faults += [("5xx", "a", "500"), ("slow", "a", "9 s")]
    assert report.lines()[1:] == [
        "served in words: 2",
        "5xx: 1",
        "slower than 2 s: 1",
        "memory above 300 MB: 0",
    ]


def test_every_file_that_runs_code_is_another_one(tmp_path):
    contents = [make() for make in code_cases(tmp_path / "canary").values()]
    assert len(set(contents)) == len(contents) > 40


def run_tool(*options):
    command = [sys.executable, "tools/hostile.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_sample_of_hostile_input_is_served_in_words():
    done = run_tool("--flag=--nowebui", "--every", str(SAMPLE_EVERY), "--seconds", "3")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_hostile_input_is_served_in_words():
    done = run_tool("--seconds", "400")
    assert done.returncode == 0, done.stdout + done.stderr
