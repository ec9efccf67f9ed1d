"""What the oscillator experiments share: the problem of every network, descents on it, and their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from papers.gradpie.online import Descent, GradientSource, Moves
from papers.gradpie.simulators.oscillators import Oscillators, deviation, sample_oscillators, sample_target


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


def online_rows(curve: Tensor, settings: Mapping[str, Any], **key: object) -> list[Row]:
    """Return the rows of a descent, at some iterations and when a start has made so many ``settings["queries"]``.

    As in the paper's table, "loss" is the mean over starts, and "std" their standard deviation.

    Args:
        curve: losses, ``(T + 1) x S``.
        settings: see `online_losses`; besides ``levels``, the iterations, or every how many there is a row.
    """
    last, levels = len(curve) - 1, settings["levels"]
    iterations = range(0, last + 1, levels) if isinstance(levels, int) else [t for t in levels if t <= last]
    steps = {count: (count - settings["initial"]) // (1 + settings["local_samples"]) for count in settings["queries"]}
    queries = {count: step for count, step in steps.items() if 0 <= step <= last}
    return [
        *loss_rows(curve, {t: t for t in iterations}, experiment="iterations", **key),
        *loss_rows(curve, queries, experiment="queries", **key),
    ]


def loss_rows(curve: Tensor, steps: Mapping[int, int], **key: object) -> list[Row]:
    """Return "loss" and "std" over starts of a curve (``(T + 1) x S``); ``steps`` maps evaluations to its rows."""
    return [
        {**key, "evaluations": evaluations, "metric": metric, "value": round(float(value), 6)}
        for evaluations, step in steps.items()
        for metric, value in (("loss", curve[step].mean()), ("std", curve[step].std()))
    ]
