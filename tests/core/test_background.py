"""What can wait gives way to what is waited for."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from modules.core.background import give_way


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's threads have a priority each")
def test_a_thread_gives_way_alone():
    before, priorities = os.getpriority(os.PRIO_PROCESS, 0), list[int]()

    def work() -> None:
        give_way()
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert priorities == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before < 19
