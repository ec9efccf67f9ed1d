"""LGO: a batch of functions beside a loop over them, and a step that never forms H beside PyTorch's L-BFGS."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from statistics import median

import torch
from torch import Tensor

from benchmarks.runner import Benchmark, Measurement, in_turns
from common.functions.gaussians import GaussianFamily
from papers.lgo.model import AGD, ONES, PairMemory, preset

FUNCTIONS, LOOPED, VARIABLES, SEARCHES = 1000, 10, 10, 20  # functions at once and one by one; line searches
LARGE, PAIRS, STEPS = 10**6, 15, 5  # variables, pairs of steps and gradients, steps in a repetition
RATE = 0.3  # of the steps: short ones, so that no search converges
ALLOWED = 2.0  # times the cost of PyTorch's step
REPETITIONS = 5


@torch.no_grad()
def batch() -> Measurement:
    """Search on all functions at once, and on some one by one, for as many line searches, in processor seconds."""
    functions, start = GaussianFamily(VARIABLES).sample(0, range(FUNCTIONS))
    net = preset("bfgs", VARIABLES)

    def search(rows: slice) -> Tensor:
        *_, last = islice(net.iterates(functions[rows], start[rows], "last"), SEARCHES + 1)
        return last.gap

    contenders = {
        "loop": lambda: [search(slice(i, i + 1)) for i in range(LOOPED)],
        "batch": lambda: search(slice(None)),
    }
    seconds = in_turns(contenders, REPETITIONS, time.process_time)
    loop, whole = [s / LOOPED for s in seconds["loop"]], [s / FUNCTIONS for s in seconds["batch"]]
    return Measurement(
        [a / b for a, b in zip(loop, whole, strict=True)],
        {"loop (CPU ms a function)": 1e3 * median(loop), "batch (CPU ms a function)": 1e3 * median(whole)},
    )


def step() -> Measurement:
    """Compare steps at a million variables, once as many pairs are kept as may be, in processor seconds."""
    scales = torch.linspace(1, 2, LARGE, dtype=torch.float64)
    contenders: dict[str, Callable[[], None]] = {"pytorch": TorchSteps(scales), "ours": OurSteps(scales)}
    for contender in contenders.values():
        for _ in range(PAIRS // STEPS):
            contender()
    seconds = in_turns(contenders, REPETITIONS, time.process_time)
    return Measurement(
        [ALLOWED * theirs / ours for theirs, ours in zip(seconds["pytorch"], seconds["ours"], strict=True)],
        {f"{name} (CPU s a step)": median(times) / STEPS for name, times in seconds.items()},
    )


class OurSteps:
    """BFGS by a limited number of pairs on a quadratic."""

    def __init__(self, scales: Tensor) -> None:
        self.scales, self.x = scales, torch.ones(1, len(scales), dtype=torch.float64)
        self.agd = AGD(PairMemory(PAIRS))

    @torch.no_grad()
    def __call__(self) -> None:
        for _ in range(STEPS):
            s = RATE * self.agd.direction(self.scales * self.x, ONES)
            self.agd.step(s)
            self.x = self.x + s


class TorchSteps:
    """PyTorch's L-BFGS on the same quadratic, without a line search."""

    def __init__(self, scales: Tensor) -> None:
        self.scales, self.x = scales, torch.ones(len(scales), dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.LBFGS(
            [self.x], lr=RATE, max_iter=1, history_size=PAIRS, tolerance_grad=0, tolerance_change=0
        )

    def __call__(self) -> None:
        for _ in range(STEPS):
            self.optimizer.step(self._closure)

    @torch.no_grad()
    def _closure(self) -> float:
        self.x.grad = self.scales * self.x
        return 0.0


BENCHMARKS = [
    Benchmark("lgo-batch", f"searches on {FUNCTIONS} functions, n = {VARIABLES}: one by one / at once", 30.0, batch),
    Benchmark(
        "lgo-step", f"{ALLOWED:g} times PyTorch's L-BFGS / ours, a step at n = 1e6 with {PAIRS} pairs", 1.0, step
    ),
]
