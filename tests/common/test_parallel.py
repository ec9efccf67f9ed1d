from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.parallel import TaskError, map_tasks


def bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("d", value)


def test_results_come_in_order_and_do_not_depend_on_the_number_of_workers(tmp_path):
    def rows(task):
        values = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(task)) / 3
        return [{"replicate": task, "value": value} for value in values]

    tasks = [3, 1, 2]
    alone = map_tasks(rows, tasks, key=str, cache=None, workers=1)
    together = map_tasks(rows, tasks, key=str, cache=tmp_path, workers=2)
    assert [result[0]["replicate"] for result in alone] == tasks
    assert alone == together
    assert together == map_tasks(rows, tasks, key=str, cache=tmp_path)


def test_several_workers_compute_with_one_thread_each_and_one_worker_is_this_process():
    def where(task):
        return [os.getpid(), torch.get_num_threads()]

    several = map_tasks(where, [1, 2], key=str, cache=None, workers=2)
    assert all(pid != os.getpid() and threads == 1 for pid, threads in several)
    assert map_tasks(where, [1], key=str, cache=None, workers=1) == [[os.getpid(), torch.get_num_threads()]]


def test_only_missing_or_damaged_results_are_computed_again(tmp_path):
    computed = []

    def square(task):
        computed.append(task)
        return {"value": task**2}

    def run():
        computed.clear()
        return map_tasks(square, [1, 2, 3, 4], key=str, cache=tmp_path, workers=1)

    first = run()
    assert computed == [1, 2, 3, 4]
    assert run() == first
    assert computed == []
    (tmp_path / "2.json").unlink()
    content = (tmp_path / "3.json").read_bytes()
    (tmp_path / "3.json").write_bytes(content[:-3])
    (tmp_path / "4.json").write_bytes(content)
    assert run() == first
    assert computed == [2, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "2.json", "3.json", "4.json"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats() | st.floats(width=32).map(np.float32)))
def test_floats_keep_their_bits(tmp_path_factory, values):
    cache = tmp_path_factory.mktemp("cache")
    for _ in range(2):
        (result,) = map_tasks(lambda task: {"values": np.array(values, dtype=float)}, [0], key=str, cache=cache)
        assert list(map(bits, result["values"])) == list(map(bits, map(float, values)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_task_is_named_and_the_others_are_kept(tmp_path, workers):
    def reciprocal(task):
        return 1 / task

    with pytest.raises(TaskError, match=r"'0' failed: ZeroDivisionError") as caught:
        map_tasks(reciprocal, [1, 0, 2], key=str, cache=tmp_path, workers=workers)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "in reciprocal" in caught.value.__cause__.__notes__[0]
    assert [json.loads((tmp_path / f"{task}.json").read_text())["result"] for task in (1, 2)] == [1, 0.5]
    assert not (tmp_path / "0.json").exists()


def test_an_exception_that_cannot_cross_processes_is_still_reported():
    class OddError(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} {second}")

    def fail(task):
        raise OddError("no", "luck")

    with pytest.raises(TaskError, match=r"'1' failed \(and 1 more\): RuntimeError: OddError: no luck"):
        map_tasks(fail, [1, 2], key=str, cache=None, workers=2)


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TaskError, match="holds a set"):
        map_tasks(lambda task: {1, 2}, [1], key=str, cache=None)


@pytest.mark.parametrize(("name", "message"), [("same", "two tasks"), ("", "file name"), ("a/b", "file name")])
def test_unfit_names_are_refused(name, message):
    tasks = [1, 2] if name == "same" else [1]
    with pytest.raises(ValueError, match=message):
        map_tasks(abs, tasks, key=lambda task: name, cache=None)


def test_the_environment_sets_the_number_of_workers(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")
    assert map_tasks(lambda task: os.getpid(), [1, 2], key=str, cache=None) == [os.getpid()] * 2
    monkeypatch.setenv("GLOBOPT_WORKERS", "many")
    with pytest.raises(ValueError, match="GLOBOPT_WORKERS"):
        map_tasks(abs, [1, 2], key=str, cache=None)


def test_no_tasks_give_no_results(tmp_path):
    assert map_tasks(abs, [], key=str, cache=tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_finished_before_a_kill_is_kept(tmp_path, number):
    program = f"""
import time
from pathlib import Path
from common.parallel import map_tasks
map_tasks(lambda task: task or time.sleep(60), [1, 0], key=str, cache=Path({str(tmp_path)!r}), workers=1)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    stored = tmp_path / "1.json"
    deadline = time.monotonic() + 30
    while not stored.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) != 0
    assert [path.name for path in Path(tmp_path).iterdir()] == ["1.json"]
    assert map_tasks(lambda task: task + 10, [1, 0], key=str, cache=tmp_path, workers=1) == [1, 10]
