from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import cluster
from common.cluster import ClusterError, computing_on, environment
from common.experiments import experiment_command, map_rows
from common.parallel import TaskError, map_tasks
from common.reporting.rows import read_rows

PATIENCE = 600  # seconds, on a machine that has other things to do
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def sweep():
    """A task that notes who computes it, and takes long enough to be killed on the way."""

    def compute(task):  # not a function of this module, which workers could not import
        with open("begun.txt", "a") as file:
            print(os.getpid(), task, file=file)
        time.sleep(0.3)
        if task < 0:
            os._exit(1)
        return {"task": task, "value": 1 / (3 + task)}

    return compute


def begun():
    return [tuple(map(int, line.split())) for line in Path("begun.txt").read_text().splitlines()]


@contextmanager
def dask(kind, *words, env=ONE_THREAD):
    command = [sys.executable, "-m", "dask", kind, "--no-dashboard", *words]
    with Path(f"{kind}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def worker(address, threads=1):
    """A worker that nobody starts again."""
    return dask("worker", address, "--no-nanny", "--nthreads", str(threads))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a scheduler; the current folder is that of the module's tests."""
    pytest.importorskip("distributed")
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("cluster"))
    try:
        # A task may take one worker with it, and no more.
        patient = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        with dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", "scheduler.json", env=patient):
            yield wait_for_address()
    finally:
        os.chdir(before)


def wait_for_address():
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            return json.loads(Path("scheduler.json").read_text())["address"].removeprefix("tcp://")
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
    raise TimeoutError(Path("scheduler.log").read_text())


def kill_when_busy(process):
    """Kill a worker while it computes its second task."""
    deadline = time.monotonic() + PATIENCE
    while sum(pid == process.pid for pid, _ in begun()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)


def test_a_sweep_that_loses_a_worker_is_complete_and_identical(address, sweep, tmp_path):
    tasks = list(range(10))
    Path("begun.txt").touch()
    with worker(address), worker(address) as victim, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_when_busy, victim)
        with computing_on("dask", address):
            found = map_tasks(sweep, tasks, key=str, cache=tmp_path)
        killed.result(timeout=10)
    pids = [pid for pid, _ in begun()]
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert sorted({task for _, task in begun()}) == tasks
    assert len(pids) > len(tasks)  # what the dead worker had begun was begun again
    assert found == map_tasks(sweep, tasks, key=str, cache=None, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{task}.json" for task in tasks)


def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_kept(address, sweep, tmp_path):
    lost = pytest.raises(TaskError, match=r"task '-1' failed: KilledWorker")
    with worker(address), worker(address), computing_on("dask", address), lost:
        map_tasks(sweep, [1, 2, -1], key=str, cache=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "2.json"]


def test_a_worker_that_would_compute_something_else_is_refused_by_name(address, monkeypatch):
    monkeypatch.setattr(cluster, "environment", lambda: {**environment(), "torch": "1.0"})
    message = r"ClusterError: the worker tcp://127.0.0.1:\d+ has torch .*, not 1.0; needs --nthreads 1"
    with worker(address, threads=2), computing_on("dask", address), pytest.raises(TaskError, match=message):
        map_tasks(abs, [1], key=str, cache=None)


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A paper with one experiment, in the current folder."""
    folder = tmp_path / "papers/toy"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("table1: {seed: 3, replicates: 4}")
    (folder / "dvc.yaml").write_text("stages: {table1: {deps: []}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")

    def row(params, cache, task):
        (replicate,) = task
        key = {"experiment": "table1", "problem": "bowl", "d": 2, "method": "ours", "replicate": replicate}
        return [{**key, "evaluations": 10, "metric": "process", "value": os.getpid()}]

    def run(params, cache):
        return map_rows(row, params, cache, [(replicate,) for replicate in range(params["replicates"])])

    monkeypatch.setattr("common.experiments.import_module", lambda name: SimpleNamespace(run=run))
    return folder


def experiment(*words):
    experiment_command("toy", ["table1"], ["table1", *words])
    return read_rows("papers/toy/results/table1.csv")["value"].tolist()


def test_an_experiment_computes_where_its_flags_or_the_environment_say(address, toy, monkeypatch):
    assert set(experiment()) == {os.getpid()}
    Path("reports").rename("times of this machine")
    with worker(address) as there:
        assert set(experiment("--backend", "dask", "--address", address)) == {there.pid}
        monkeypatch.setenv("GLOBOPT_BACKEND", "dask")
        monkeypatch.setenv("GLOBOPT_ADDRESS", address)
        assert set(experiment()) == {there.pid}
    assert not Path("reports").exists()
    assert set(experiment("--backend", "loky")) == {os.getpid()}


def test_what_cannot_be_a_cluster_is_said_in_a_line(toy, monkeypatch):
    with pytest.raises(SystemExit, match="error: dask needs the address of its scheduler, HOST:PORT"):
        experiment("--backend", "dask")
    with pytest.raises(ClusterError, match="backends are loky, dask, not 'mpi'"), computing_on("mpi"):
        pass
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "distributed", None)
        with pytest.raises(SystemExit, match=r"error: dask is not installed: pip install 'globopt-lab\[cluster\]'"):
            experiment("--backend", "dask", "--address", "127.0.0.1:1")
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(SystemExit, match=r"error: no Dask scheduler answers at 127\.0\.0\.1:1: "):
        experiment("--backend", "dask", "--address", "127.0.0.1:1")
    assert not list(Path("runs").glob("*/*/holder.json"))
