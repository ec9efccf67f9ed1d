"""What the experiments share: the problem of every oscillator network, descents on it, and the rows of descents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from papers.gradpie.online import Descent, GradientSource, Moves
from papers.gradpie.simulators.oscillators import Oscillators, deviation, sample_oscillators, sample_target

Statistics = Mapping[str, Callable[[Tensor], Tensor | float]]
"""Metrics, and how each is computed from the values of all starts."""

LOSS: Statistics = MappingProxyType({"loss": torch.mean, "std": torch.std})

# The metrics that compare with a base model, and which one.
REDUCTIONS = MappingProxyType({"reduction": "base", "reduction_standardised": "base standardised"})


class Problem(NamedTuple):
    """Eq. (12): amplitudes to begin with, after which a network comes close to a target; ``seed`` keys all of it."""

    seed: int
    oscillators: Oscillators
    target: Tensor

    @classmethod
    def draw(cls, seed: int, replicate: int, dim: int) -> Problem:
        """Return the problem of a replicate: a network of ``dim`` oscillators and a target of its own."""
        network = key_seed(seed, "network", replicate)
        return cls(network, sample_oscillators(network, dim), sample_target(network, dim))

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the deviation of outputs ``n x N`` from the target, ``n``."""
        return deviation(outputs, self.target)

    def starts(self, count: int) -> list[int]:
        """Return the seeds of so many starts."""
        return [key_seed(self.seed, "start", k) for k in range(count)]

    def first_queries(self, starts: Iterable[int], count: int = 1, spread: float = 0.0) -> Tensor:
        """Return the first ``count`` queries of every start, ``S x count x N``.

        The first one, where the start begins, is uniform on [0, 1]^N; the others are normal around it with standard
        deviation ``spread``.
        """
        points = []
        for start in starts:
            generator = torch_generator(start, "first queries")
            centre = torch.rand(1, len(self.target), generator=generator, dtype=torch.float64)
            noise = torch.randn(count - 1, len(self.target), generator=generator, dtype=torch.float64)
            points.append(torch.cat([centre, centre + spread * noise]))
        return torch.stack(points)


def online_losses(problem: Problem, starts: list[int], source: GradientSource, settings: Mapping[str, Any]) -> Tensor:
    """Descend from all starts (Algorithm 1); return the losses of the points that move, ``(T + 1) x S``.

    Args:
        settings: ``initial``, the first queries of a start, and their ``spread``; ``local_samples``, p;
            ``iterations``, T; ``moves``, see `Moves`.
    """
    moves = Moves(local_samples=settings["local_samples"], **settings["moves"])
    initial = problem.first_queries(starts, settings["initial"], settings["spread"])
    return losses(problem, starts, source, initial, moves, settings["iterations"])


def losses(
    problem: Problem, starts: list[int], source: GradientSource, initial: Tensor, moves: Moves, iterations: int,
    bounds: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Descend from ``initial`` (``S x n_0 x N``); return the losses of the points that move, ``(T + 1) x S``."""
    descent = Descent(initial, problem.loss, source, starts, moves, bounds)
    return torch.stack(descent.run(problem.oscillators, iterations).current)


def online_rows(curve: Tensor, settings: Mapping[str, Any], statistics: Statistics = LOSS, **key: object) -> list[Row]:
    """Return the rows of a descent, at some iterations and when a start has made so many ``settings["queries"]``.

    As in the paper's table, "loss" is the mean over starts, and "std" their standard deviation.

    Args:
        curve: losses, ``(T + 1) x S``.
        settings: see `online_losses`; besides ``levels``, the iterations, or every how many there is a row.
        statistics: other metrics than "loss" and "std".
    """
    last, levels = len(curve) - 1, settings["levels"]
    iterations = range(0, last + 1, levels) if isinstance(levels, int) else [t for t in levels if t <= last]
    steps = {count: (count - settings["initial"]) // step_queries(settings) for count in settings["queries"]}
    queries = {count: step for count, step in steps.items() if 0 <= step <= last}
    return [
        *loss_rows(curve, {t: t for t in iterations}, statistics, experiment="iterations", **key),
        *loss_rows(curve, queries, statistics, experiment="queries", **key),
    ]


def step_queries(settings: Mapping[str, Any]) -> int:
    """Return the queries of a start in an iteration: m (1 + p)."""
    points: int = settings.get("moves", {}).get("points", 1)
    return points * (1 + int(settings["local_samples"]))


def loss_rows(curve: Tensor, steps: Mapping[int, int], statistics: Statistics = LOSS, **key: object) -> list[Row]:
    """Return statistics over starts of a curve (``(T + 1) x S``); ``steps`` maps evaluations to its rows."""
    return [
        {**key, "evaluations": evaluations, "metric": metric, "value": round(float(statistic(curve[step])), 6)}
        for evaluations, step in steps.items()
        for metric, statistic in statistics.items()
    ]


def reduction_rows(means: Mapping[str, Tensor], settings: Mapping[str, Any], **key: object) -> list[Row]:
    """Return Table 2 from the methods' mean losses over starts (``T + 1``).

    "reduction" is the share of T iterations that are saved until a method has reached the base model's last loss, 0
    where it never has; "queries" are those of a start until then, the first ones included.
    """
    last = settings["iterations"]
    rows: list[Row] = []
    for method, curve in means.items():
        steps = {metric: _first(curve <= means[base][last], last) for metric, base in REDUCTIONS.items()}
        found: dict[str, float] = {metric: 1 - step / last for metric, step in steps.items()}
        found["queries"] = settings["initial"] + step_queries(settings) * steps["reduction"]
        rows += [
            {**key, "experiment": "comparison", "method": method, "evaluations": last, "metric": metric,
             "value": round(value, 6)}
            for metric, value in found.items()
        ]  # fmt: skip
    return rows


def _first(reached: Tensor, otherwise: int) -> int:
    """Return the position of the first True."""
    return int(reached.int().argmax()) if reached.any() else otherwise
