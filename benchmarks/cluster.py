"""Sweeps on several processes: what the fan-out costs, and what a second Dask worker is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

from benchmarks.runner import Benchmark, Measurement, Skipped, in_turns, timed
from common.cluster import computing_on
from common.functions import make_function
from common.optimizers import minimize
from common.parallel import map_tasks

WORKERS = 2
TASKS, SECONDS = 60, 1.0  # of the fan-out
RUNS, BUDGET, DIM = 24, 10_000, 10  # of the sweep: a bit less than a second each
REPETITIONS = 3


def wait(task: int) -> int:
    """Be busy for a second, whatever else the machine does."""
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        pass
    return task


def search(task: int) -> float:
    """Return what GENNES finds on Rastrigin."""
    function = make_function("rastrigin", DIM)
    return minimize(function, function.bounds, method="gennes", budget=BUDGET, rng=task).fun


def fan_out(backend: str) -> Measurement:
    """Compare tasks of a second on two workers with what they would take if nothing else did.

    The start of a sweep is a figure of its own: what a sweep takes that has a task for every worker, less the task.
    """
    ideal = TASKS * SECONDS / WORKERS

    def sweep(tasks: int) -> float:
        run = partial(map_tasks, wait, range(tasks), key=str, cache=None, workers=WORKERS)
        if backend == "loky":
            return timed(run, time.perf_counter)
        with _workers(WORKERS) as address, computing_on("dask", address):
            return timed(run, time.perf_counter)

    start = sweep(WORKERS) - SECONDS
    seconds = sweep(TASKS) - start
    return Measurement([ideal / seconds], {"ideal (s)": ideal, "measured (s)": seconds, "start (s)": start})


def second_worker() -> Measurement:
    """Time a sweep on one Dask worker and on two, of one core each; what only the first sweep costs does not count."""
    found: dict[str, list[float]] = {}

    def sweep(name: str, address: str) -> None:
        with computing_on("dask", address):
            found[name] = map_tasks(search, range(RUNS), key=str, cache=None)

    with _workers(1) as one, _workers(2) as two:
        contenders: dict[str, Callable[[], object]] = {
            "one worker": partial(sweep, "one worker", one), "two workers": partial(sweep, "two workers", two),
        }  # fmt: skip
        seconds = in_turns(contenders, REPETITIONS)
    assert found["one worker"] == found["two workers"]
    return Measurement(
        [alone / both for alone, both in zip(*seconds.values(), strict=True)],
        {f"{name} (s)": median(times) for name, times in seconds.items()},
    )


@contextmanager
def _workers(count: int) -> Iterator[str]:
    """Start a Dask cluster on this machine; yield its address.

    Raises:
        Skipped: Dask is not installed.
    """
    try:
        from distributed import LocalCluster
    except ImportError:
        raise Skipped("the extra `cluster` is not installed") from None
    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


BENCHMARKS = [
    *(
        Benchmark(
            f"fan-out-{backend}",
            f"{TASKS} tasks of {SECONDS:g} s on {WORKERS} {backend} workers, once started: without overhead / measured",
            0.95,
            partial(fan_out, backend),
        )
        for backend in ("loky", "dask")
    ),
    Benchmark("dask-second-worker", f"a sweep of {RUNS} runs: one Dask worker / two", 1.6, second_worker),
]
