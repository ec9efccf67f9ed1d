"""Long and large: does memory stay flat, and what do a million rows and ten million evaluations take?"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback
from scipy.optimize import OptimizeResult
from scipy.stats import theilslopes

from benchmarks.runner import Benchmark, Measurement, timed
from common.functions import make_function
from common.optimizers import get_optimizer, methods, minimize
from common.optimizers.random import RandomSearch
from common.reporting.rows import read_rows, replicate_values, write_rows
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.data import GaussianDataModule
from papers.lgo.module import DNetModule

# Of a run whose memory is watched, at least; the first quarter, in which pools fill, does not count.
SECONDS, STEPS = 20.0, 2_000
SAMPLES = 200  # of the memory
ALLOWED = 1000.0  # MB of growth in a day
DIM, BUDGET = 10, 5_000  # a run that ends early begins anew, as it would in a day
TRAINING_STEPS = 4_000
ROWS, REPLICATES = 10**6, 100
EVALUATIONS, POPULATION = 10**7, 10**5


class Memory:
    """Resident memory of this process by steps."""

    def __init__(self, every: float) -> None:
        self.every, self.next = every, 0.0  # seconds between samples
        self.steps = 0
        self.samples: list[tuple[int, float]] = []  # steps, MB
        self.start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start

    @property
    def enough(self) -> bool:
        return self.seconds > SECONDS and self.steps > STEPS

    def step(self) -> None:
        """Count a step, and look at the memory now and then."""
        self.steps += 1
        if self.seconds >= self.next:
            gc.collect()
            self.samples.append((self.steps, _resident_mb()))
            self.next = self.seconds + self.every

    def slope(self) -> Measurement:
        """Return the growth in the last three quarters, by Theil and Sen, with its 95% interval; a day's is its end."""
        steps, megabytes = np.array(self.samples[len(self.samples) // 4 :]).T
        slope, _, low, high = (1000 * value for value in theilslopes(megabytes, steps))
        day = max(high, 0.0) / 1000 * self.steps / self.seconds * 24 * 3600
        figures = {"MB in 1000 steps": slope, "from": low, "to": high, "steps": self.steps, "MB in a day": day}
        return Measurement([ALLOWED / max(day, 1.0)], figures)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def optimizer_memory(method: str) -> Measurement:
    """Watch the memory while a method runs, with new seeds once it ends; a step is a batch of queries."""
    function = make_function("rastrigin", DIM)
    memory = Memory(SECONDS / SAMPLES)

    def watch(result: OptimizeResult) -> bool:
        memory.step()
        return memory.enough

    for seed in count():
        minimize(function, function.bounds, method=method, budget=BUDGET, rng=seed, callback=watch)
        if memory.enough:
            return memory.slope()
    raise AssertionError


def training_memory() -> Measurement:
    """Watch the memory of a training of d-Net with validations and checkpoints."""
    memory = Memory(0.1)

    class Watch(Callback):
        def on_train_batch_end(self, trainer: object, pl_module: object, *args: object) -> None:
            memory.step()

    data = GaussianDataModule(batch_size=4, steps_per_epoch=100, validation=4)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory("benchmarks", "memory", {}, "", root=folder)
        epochs = TRAINING_STEPS // data.steps_per_epoch
        fit(DNetModule(layers=4), data, run, max_epochs=epochs, threads=1, logger=False, callbacks=[Watch()])
    return memory.slope()


def rows() -> Measurement:
    """Write a file of a million result rows, read it, and take one cell's replicates from it, in processor seconds."""
    problems, methods_ = [f"p{k}" for k in range(20)], [f"m{k}" for k in range(50)]
    grid = pd.MultiIndex.from_product(
        [problems, methods_, range(REPLICATES), range(ROWS // REPLICATES // len(problems) // len(methods_))],
        names=["problem", "method", "replicate", "evaluations"],
    ).to_frame(index=False)
    values = np.random.default_rng(0).standard_normal(len(grid))
    table = grid.assign(experiment="large", d=2, metric="regret", value=values)
    selection = {"problem": "p3", "method": "m7", "evaluations": 0}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        read: list[pd.DataFrame] = []
        calls: dict[str, Callable[[], object]] = {
            "write": partial(write_rows, path, table),
            "read": lambda: read.append(read_rows(path)),
            "cell": lambda: replicate_values(read[0], selection),
        }
        for name, call in calls.items():
            seconds[f"{name} (CPU s)"] = timed(call, time.process_time)
        size = path.stat().st_size / 1e6
    return Measurement([60 / sum(seconds.values())], seconds | {"rows": len(table), "MB": size})


def evaluations() -> Measurement:
    """Search at random with ten million evaluations; the ratio is the time of drawing and evaluating the points."""
    bounds = torch.tensor([[-5.0] * DIM, [5.0] * DIM], dtype=torch.float64)

    def function(X: torch.Tensor) -> torch.Tensor:
        return X.square().sum(1)

    def bare() -> None:
        search = RandomSearch(POPULATION).start(bounds, EVALUATIONS, rng=0)
        while not search.stop():
            X = search.ask()
            search.tell(X, function(X))

    results: list[OptimizeResult] = []

    def front_door() -> None:
        results.append(minimize(function, bounds, "random", EVALUATIONS, 0, population=POPULATION))

    seconds = {name: timed(run, time.process_time) for name, run in {"bare": bare, "minimize": front_door}.items()}
    assert results[0].nfev == EVALUATIONS
    figures = {f"{name} (CPU s)": value for name, value in seconds.items()}
    return Measurement([seconds["bare"] / seconds["minimize"]], figures | {"history": len(results[0].history)})


BENCHMARKS = [
    *(
        Benchmark(
            f"memory-{method}",
            f"{ALLOWED:g} MB / growth in a day of batches of queries, upper end of its interval",
            1.0,
            partial(optimizer_memory, method),
        )
        for method in methods()
        if get_optimizer(method).ask_tell
    ),
    Benchmark(
        "memory-training", f"{ALLOWED:g} MB / growth in a day of steps, upper end of its interval", 1.0, training_memory
    ),
    Benchmark("rows", f"a minute / {ROWS:.0e} result rows written, read, and one cell taken", 1.0, rows),
    Benchmark("evaluations", f"{EVALUATIONS:.0e} random evaluations: bare loop / minimize()", 0.8, evaluations),
]
