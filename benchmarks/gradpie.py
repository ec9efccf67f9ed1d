"""GradPIE: the surrogates of all starts trained as one batch or one by one, and simulations of the amplifier."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from statistics import median

import torch
from torch import Tensor

from benchmarks.runner import Benchmark, Measurement, Skipped, batch_against_loop, in_turns
from common.training.keys import key_seed, torch_generator
from papers.gradpie.model import TABLE_3
from papers.gradpie.online import Learning, LearningSurrogate
from papers.gradpie.simulators.ngspice import NgSpiceMissing
from papers.gradpie.simulators.opamp import OpAmp
from papers.gradpie.simulators.pdk import PdkError

# Starts, inputs and outputs of the oscillators (20 on each network) and of the amplifier (in blocks of 10).
TASKS = {"cnon": (20, 20, 20), "opamp": (10, 10, 1)}
WINDOW = 60  # queries that a surrogate learns from
STEPS, REPETITIONS = 2, 9
RATE, SIZINGS = 100, 200  # simulations a second and core; of a repetition


class Steps:
    """Steps of Algorithm 1 without the black box: E epochs on the window, then the gradient at its last point."""

    def __init__(self, task: str, seeds: Sequence[int]) -> None:
        _, inputs, outputs = TASKS[task]
        drawn = [torch.rand(WINDOW, inputs + outputs, generator=torch_generator(s, "queries")) for s in seeds]
        x, y = torch.stack(drawn).double().split([inputs, outputs], dim=2)
        self.point, self.weights, self.step = x[:, -1:], torch.ones_like(y[:, -1:]), count()
        self.source = LearningSurrogate(seeds, Learning(window=WINDOW, **TABLE_3[task]))  # type: ignore[arg-type]
        self.source.add(x, y)

    def advance(self) -> Tensor:
        """Take one step; return the gradients, a row a start."""
        self.source.fit(next(self.step))
        return self.source.vjp(self.point, self.weights)[:, 0]


def speedup(task: str) -> Measurement:
    """Compare the batch of starts with one start after the other."""
    seeds = [key_seed(0, task, k) for k in range(TASKS[task][0])]
    alone = {"one by one": [Steps(task, [seed]).advance for seed in seeds]}
    return batch_against_loop(
        Steps(task, seeds).advance, alone, STEPS, REPETITIONS, time.process_time, same_for=1, rtol=1e-2, atol=1e-4
    )


def simulations() -> Measurement:
    """Simulate random sizings with the foundry's models; the time that the simulator takes to start is included."""
    U = torch.rand(SIZINGS, 10, generator=torch_generator(0, "sizings"), dtype=torch.float64)

    def simulate() -> None:
        with OpAmp() as amplifier:
            amplifier(U)

    try:
        (seconds,) = in_turns({"sizings": simulate}, REPETITIONS, _cpu_seconds).values()
    except (NgSpiceMissing, PdkError) as missing:
        raise Skipped(str(missing)) from None
    rates = [SIZINGS / taken for taken in seconds]
    return Measurement([rate / RATE for rate in rates], {"simulations a CPU s": median(rates)})


def _cpu_seconds() -> float:
    """Return the time on cores of this process and of those that it has seen end, as the simulator's has."""
    return sum(os.times()[:4])


BENCHMARKS = [
    *(
        Benchmark(
            f"gradpie-{task}",
            f"a step of {starts} starts, the surrogates one by one / as one batch",
            1.4,
            partial(speedup, task),
        )
        for task, (starts, *_) in TASKS.items()
    ),
    Benchmark("amplifier", f"simulations a CPU second / {RATE}", 1.0, simulations),
]
