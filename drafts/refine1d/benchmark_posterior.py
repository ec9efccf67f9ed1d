"""refine1d's learned posterior: beside a Gaussian process, and how long one answer takes. (To be benchmarks/posterior.py.)"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from benchmarks.runner import Benchmark, Measurement, in_turns
from common.functions.splines import Sampling, SplinePrior
from papers.refine1d.find import find_minimum
from papers.refine1d.gp import gp_posterior
from papers.refine1d.posterior import LearnedPosterior

BATCH, FITTED, REPETITIONS = 256, 16, 7  # functions: of the network, and in one fit of the GP
ALLOWED_SECONDS = 0.005


def batches() -> Measurement:
    """Answer sets of 40 samples by the learned posterior, and by a GP with sampled argmins."""
    functions = SplinePrior().sample(0, range(BATCH))
    samples, network = Sampling().draw(functions, 0, range(BATCH)), LearnedPosterior().requires_grad_(False)
    contenders: dict[str, Callable[[], object]] = {
        "GP": lambda: gp_posterior(samples.x[:FITTED], samples.y[:FITTED]).minimizers.median(),
        "learned posterior": lambda: network.posterior(samples.x, samples.y).median(),
    }
    fastest = {name: min(seconds) for name, seconds in in_turns(contenders, REPETITIONS, time.process_time).items()}
    gp, learned = 1000 * fastest["GP"] / FITTED, 1000 * fastest["learned posterior"] / BATCH
    return Measurement([gp / learned], {"GP (CPU ms a function)": gp, "learned posterior (CPU ms a function)": learned})


def one_answer() -> Measurement:
    """Time `find_minimum` on 40 samples."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 40)
    y = np.sin(9 * x) + 0.3 * rng.standard_normal(40)
    torch.set_num_threads(1)
    seconds = in_turns({"answer": lambda: find_minimum(x, y)}, 50, time.process_time)["answer"]
    return Measurement([ALLOWED_SECONDS / s for s in seconds], {"one answer (CPU ms)": 1000 * median(seconds)})


BENCHMARKS = [
    Benchmark(
        "refine1d-posterior", f"40 samples: GP / learned posterior in batches of {BATCH}, CPU ms a function", 30.0, batches
    ),
    Benchmark("refine1d-find", "5 ms / one answer of find_minimum", 1.0, one_answer),
]
