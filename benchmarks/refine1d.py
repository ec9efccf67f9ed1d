"""refine1d: its random functions beside SciPy's, a step of its training beside the equations taken literally, and
the learned posterior beside a Gaussian process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from statistics import median

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from benchmarks.runner import Benchmark, Measurement, NotMeasured, in_turns
from common.functions.splines import Sampling, SplinePrior
from common.training.export import WeightsError
from papers.refine1d.baselines import lowest_on_grid, lowest_sample
from papers.refine1d.experiments.posterior_peers import smoothing_curves
from papers.refine1d.experiments.testing import ITERATIONS, search, trained_network
from papers.refine1d.features import spline_features
from papers.refine1d.find import find_minimum
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.gp import gp_posterior
from papers.refine1d.gp_marginal import marginal_gp_posterior
from papers.refine1d.model import Refiner
from papers.refine1d.oracle import Oracle
from papers.refine1d.posterior import LearnedPosterior
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.settings import preset

BATCH, LOOPED = 1024, 64  # functions at once, and one after the other
TRAINED = 16  # functions in a training step, of 40 samples and 40 iterations: the paper's setting
ASKED, FITTED = 256, 16  # sample sets of 40: of the network at once, and of the GP, which fits so many at once
ALLOWED = 0.005  # CPU seconds of one answer
REPETITIONS = 9

_PRIOR = SplinePrior()


def generator() -> Measurement:
    """Draw functions with their minimizers as a batch, and as one would write it with SciPy."""
    seeds = count()
    contenders = {
        "loop": lambda: scipy_functions(next(seeds), LOOPED),
        "batch": lambda: _PRIOR.sample(next(seeds), range(BATCH)),
    }
    fastest = _fastest(contenders)
    loop, batch = LOOPED / fastest["loop"] / 1000, BATCH / fastest["batch"] / 1000
    return Measurement([batch / loop], {"loop (functions per CPU ms)": loop, "batch (functions per CPU ms)": batch})


def scipy_functions(seed: int, wanted: int) -> list[tuple[BSpline, float]]:
    """Return as many functions of the same law, and their minimizers, drawn one by one."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, 1, 2001)
    functions: list[tuple[BSpline, float]] = []
    while len(functions) < wanted:
        intervals = round(1 / rng.uniform(*_PRIOR.spacing))
        knots, coefficients = np.arange(-3, intervals + 4) / intervals, rng.standard_normal(intervals + 3)
        values = BSpline(knots, coefficients, 3)(grid)
        x, low, high = grid[values.argmin()], values.min(), values.max()
        if _PRIOR.window[0] <= x <= _PRIOR.window[1]:
            functions.append((BSpline(knots, 2 * (coefficients - low) / (high - low) - 1, 3), float(x)))
    return functions


def training_step() -> Measurement:
    """Compare steps of the paper's network: the Updater on all 40 rows, and on one with deferred gradients."""
    functions = _PRIOR.sample(0, range(TRAINED))
    samples = Sampling().draw(functions, 0, range(TRAINED))
    features = spline_features(samples.x, samples.y, "raw")
    data = features.inputs.float(), features.start.float(), functions.grid_minimizers().float()
    steps = {form: _step(form, *data) for form in ("literal", "fused")}
    torch.testing.assert_close(steps["fused"](), steps["literal"](), rtol=1e-4, atol=0)  # the same work
    fastest = _fastest(steps)
    return Measurement(
        [fastest["literal"] / fastest["fused"]], {f"{form} (CPU s)": seconds for form, seconds in fastest.items()}
    )


def posteriors() -> Measurement:
    """Find minima of sample sets with the learned posterior, and with its peers, one of which is the GP."""
    learned, network = _network(), trained_network("formula", ITERATIONS)
    samples = Sampling().draw(_PRIOR.sample(0, range(ASKED)), 0, range(ASKED))
    x, y = samples.x[:FITTED], samples.y[:FITTED]

    def gp() -> Tensor:
        return gp_posterior(x, y).minimizers.median()

    peers: dict[str, Callable[[], Tensor]] = {
        "GP": gp,
        "GP, hyperparameters averaged": lambda: marginal_gp_posterior(x, y).median(),
        "smoothing spline": lambda: lowest_on_grid(smoothing_curves(x, y)),
        "lowest sample": lambda: lowest_sample(x, y),
        "exact posterior": lambda: Oracle(sampling=Sampling()).posterior(x, y).median(),
        "exact posterior, general prior": lambda: GeneralOracle().posterior(x, y).median(),
    }
    networks: dict[str, Callable[[], Tensor]] = {
        "learned": lambda: learned.posterior(samples.x, samples.y).median(),
        "the paper's network": lambda: search(network, samples).answer,
    }
    fastest = _fastest(peers | networks)
    each = {name: 1000 * fastest[name] / (ASKED if name in networks else FITTED) for name in fastest}
    return Measurement(
        [each["GP"] / each["learned"]], {f"{name} (CPU ms a function)": time for name, time in each.items()}
    )


def one_answer() -> Measurement:
    """Time calls of `find_minimum` with 40 samples, after a first one has read the weights."""
    _network()
    samples = Sampling().draw(_PRIOR.sample(0, range(1)), 0, range(1))
    x, y = samples.x[0].numpy(), samples.y[0].numpy()
    seconds = in_turns({"answer": lambda: find_minimum(x, y, bounds=(0, 1))}, 50, time.process_time)["answer"]
    return Measurement([ALLOWED / one for one in seconds], {"an answer (CPU ms)": 1000 * median(seconds)})


def _network() -> LearnedPosterior:
    try:
        return trained_posterior()
    except WeightsError as error:
        raise NotMeasured(str(error)) from error


def _fastest(contenders: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the CPU seconds of the fastest run of each, which other programs have disturbed least."""
    return {name: min(seconds) for name, seconds in in_turns(contenders, REPETITIONS, time.process_time).items()}


def _step(form: str, inputs: Tensor, start: Tensor, target: Tensor) -> Callable[[], Tensor]:
    network = Refiner(replace(preset("paper"), form=form))
    optimizer = torch.optim.Adam(network.parameters(), 2e-4)
    return partial(_train, network, optimizer, inputs, start, target)


def _train(network: Refiner, optimizer: torch.optim.Optimizer, inputs: Tensor, start: Tensor, target: Tensor) -> Tensor:
    loss = network.loss(network(inputs, start), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


BENCHMARKS = [
    Benchmark(
        "refine1d-functions", f"random splines in batches of {BATCH} / one by one with SciPy, a CPU ms", 20.0, generator
    ),
    Benchmark(
        "refine1d-step",
        f"a training step of {TRAINED} functions, equations taken literally / fused",
        12.0,
        training_step,
    ),
    Benchmark(
        "refine1d-posterior", f"a GP / the learned posterior in batches of {ASKED}, a function", 30.0, posteriors
    ),
    Benchmark("refine1d-find", f"{1000 * ALLOWED:g} ms / one call of find_minimum", 1.0, one_answer),
]
