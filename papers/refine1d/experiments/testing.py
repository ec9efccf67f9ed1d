"""What the experiments share: test problems, the trained networks at work on them, and rows of a test set's statistics.

A test set has as many functions as the paper's, and is a replicate. Errors are in percent of the domain [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from common.functions.splines import Function, Indices, Samples, Sampling, SplinePrior
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.refine1d.features import spline_features
from papers.refine1d.landscape import Landscape
from papers.refine1d.model import Refiner, Trajectory
from papers.refine1d.pretrained import load_network

READINGS = ("formula", "percent")
WINDOW = SplinePrior().window
ITERATIONS = 40  # T_max
WEIGHTS = Path("papers/refine1d/weights")

Task = tuple[str, int, int]  # reading, first test set, test set behind the last


class Family(Protocol):
    """A law of random functions of one variable."""

    def sample(self, seed: int, indices: Indices) -> Function: ...


def tasks_of(params: Mapping[str, Any]) -> list[Task]:
    """Return the test sets of both readings in chunks."""
    sets, chunk = params["replicates"], params["chunk"]
    firsts = range(0, sets, chunk)
    return [(reading, first, min(first + chunk, sets)) for reading in READINGS for first in firsts]


@dataclass(frozen=True, eq=False)
class Problems:
    """The ``B`` functions of some test sets with their samples.

    Attributes:
        reading: of the noise.
        sets: numbers of the test sets, which have equally many functions.
        landscape: the functions.
        samples: of them.
        target: the minimizers of equation (57), ``B``.
        start: x_0, the paper's spline baseline, ``B``.
    """

    reading: str
    sets: range
    landscape: Landscape
    samples: Samples
    target: Tensor
    start: Tensor

    @classmethod
    def draw(cls, params: Mapping[str, Any], task: Task, family: Family | None = None) -> Problems:
        """Draw the test sets of a task; no training has seen their functions, and both readings have the same."""
        reading, first, end = task
        indices = range(first * params["functions"], end * params["functions"])
        seed = key_seed(params["seed"], "test")
        functions = (family or SplinePrior()).sample(seed, indices)
        samples = Sampling(noise=reading).draw(functions, seed, indices)
        landscape = Landscape.of(functions, len(indices))
        start = spline_features(samples.x, samples.y).start
        return cls(reading, range(first, end), landscape, samples, landscape.minimizers(), start)

    def error(self, answers: Tensor) -> Tensor:
        """Return how far ``answers`` (``B`` or ``B x k``) are from the minimizers."""
        target = self.target if answers.ndim == 1 else self.target[:, None]
        return 100 * (answers.double() - target).abs()

    def by_set(self, values: Tensor) -> Tensor:
        """Return values of the functions, ``B`` or ``B x k``, as ``sets x functions`` or ``sets x functions x k``."""
        return values.view(len(self.sets), -1, *values.shape[1:])

    def rows(self, metrics: Mapping[str, Tensor], **key: Any) -> list[Row]:
        """Return metrics of the sets (one value a set) as rows; a set for which it is not known, NaN, has none."""
        common = {"problem": self.reading, "d": 1, "evaluations": self.samples.x.shape[1]} | key
        return [
            {**common, "replicate": number, "metric": metric, "value": round(value, 4)}
            for metric, values in metrics.items()
            for number, value in zip(self.sets, values.tolist(), strict=True)
            if not math.isnan(value)
        ]


def trained_network(reading: str, iterations: int | None = None) -> Refiner:
    """Return the network that was trained at a reading, to make another number of iterations than in the training."""
    network = load_network(WEIGHTS / f"{reading}.safetensors")
    if iterations is not None:
        network.settings = replace(network.settings, iterations=iterations)
    return network


@torch.no_grad()
def search(network: Refiner, samples: Samples, start: Tensor | None = None, stop: bool = True) -> Trajectory:
    """Return where the network goes from x_0, or from another ``start`` (``B``)."""
    features = spline_features(samples.x, samples.y, network.settings.scaling)
    return network(features.inputs, features.start if start is None else start, stop)


def statistics(error: Tensor, spline: Tensor) -> dict[str, Tensor]:
    """Return what the paper reports of a test set, from the errors of a method and the spline's, ``sets x functions``.

    The shares are in percent, and ``gain`` is that of the mean error over the spline's in points.
    """
    return {
        "error": error.mean(1),
        "median_error": error.quantile(0.5, dim=1),
        "std_error": error.std(1, correction=0),
        "best_error": error.amin(1),
        "success_10": _share(error < 10),
        "success_15": _share(error < 15),
        "improved": _share(error < spline),
        "not_worse": _share(error <= spline),
        "gain": spline.mean(1) - error.mean(1),
    }


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of each set's chosen ``values`` (``sets x ...``), NaN for a set where none is chosen."""
    return values.double().masked_fill(~chosen, torch.nan).flatten(1).nanmean(1)


def _share(true: Tensor) -> Tensor:
    return 100 * true.double().mean(1)
