"""What the optical experiments share: starts, descents from them, and the rows of losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from papers.gradpie.online import Descent, GradientSource, Moves
from papers.gradpie.simulators.optics import BeamShaper

TURN = 2 * math.pi
QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


def start_seeds(seed: int, replicates: Iterable[int]) -> list[int]:
    """Return the seeds of the starts, one a replicate."""
    return [key_seed(seed, "start", replicate) for replicate in replicates]


def uniform_phases(start: int, count: int, dim: int) -> Tensor:
    """Return ``count x d`` phases uniform on a turn; the first row is where the start begins."""
    return TURN * torch.rand(count, dim, generator=torch_generator(start, "phases"), dtype=torch.float64)


def first_queries(start: int, count: int, spread: float, dim: int) -> Tensor:
    """Return the first queries of a descent, ``count x d``: the start, then normal around it."""
    noise = torch.randn(count, dim, generator=torch_generator(start, "first queries"), dtype=torch.float64)
    noise[0] = 0
    return uniform_phases(start, 1, dim) + spread * noise


def descend(
    shaper: BeamShaper, starts: Sequence[int], source: GradientSource, settings: Mapping[str, Any],
    bounds: Tensor | None = None,
) -> Descent:  # fmt: skip
    """Run Algorithm 1 from all starts, the loss itself being the black box's only output.

    Args:
        settings: ``initial``, the first queries of a start, and their ``spread``; ``moves``, see `Moves`;
            ``iterations``, T.
    """
    count, spread = settings["initial"], settings["spread"]
    initial = torch.stack([first_queries(start, count, spread, shaper.dim) for start in starts])
    descent = Descent(initial, lambda y: y[:, 0], source, starts, Moves(**settings["moves"]), bounds)
    return descent.run(lambda phases: shaper(phases).unsqueeze(1), settings["iterations"])


def descent_rows(descent: Descent, settings: Mapping[str, Any], replicates: Sequence[int], **key: object) -> list[Row]:
    """Return "loss", that of the points that move, by iterations, and "best" so far by queries."""
    cost = 1 + descent.moves.local_samples
    queries = {count: (count - settings["initial"]) // cost for count in settings["queries"]}
    current, best = torch.stack(descent.current), torch.stack(descent.best)
    return [
        *curve_rows(current, {t: t for t in range(len(current))}, replicates, "iterations", "loss", **key),
        *curve_rows(best, queries, replicates, "queries", "best", **key),
    ]


def search_rows(
    losses: Tensor, first: int, settings: Mapping[str, Any], replicates: Sequence[int], **key: object
) -> list[Row]:
    """Return "best" so far by queries, and by iterations of one query each after the ``first`` ones.

    Args:
        losses: of all queries in their order, ``q x S``.
    """
    best = losses.cummin(0).values
    iterations = {t: first + t - 1 for t in range(0 if first else 1, settings["iterations"] + 1)}
    queries = {count: count - 1 for count in settings["queries"]}
    return [
        *curve_rows(best, iterations, replicates, "iterations", "loss", **key),
        *curve_rows(best, queries, replicates, "queries", "best", **key),
    ]


def curve_rows(
    curve: Tensor, steps: Mapping[int, int], replicates: Sequence[int], experiment: str, metric: str, **key: object
) -> list[Row]:
    """Return the rows of curves, ``q x S``; ``steps`` maps evaluations to rows of them, as far as they go."""
    key |= {"experiment": experiment, "problem": "owms", "metric": metric}
    return [
        {**key, "replicate": replicate, "evaluations": evaluations, "value": round(float(curve[step, position]), 6)}
        for position, replicate in enumerate(replicates)
        for evaluations, step in steps.items()
        if step < len(curve)
    ]


def table_rows(rows: Sequence[Row], settings: Mapping[str, Any]) -> list[Row]:
    """Return what tables and figures show of rows that have every iteration.

    Those are every so many iterations, ``levels``, and quartiles over starts at the ``compared`` ones. As quartiles
    have no replicate, they stand at replicate 0.
    """
    table = pd.DataFrame(rows)
    by_iterations = table["experiment"] == "iterations"
    shown = table[~by_iterations | (table["evaluations"] % settings["levels"] == 0)]
    compared = table[by_iterations & table["evaluations"].isin(settings["compared"])]
    return shown.to_dict("records") + [
        {"experiment": "quartiles", "problem": "owms", "d": d, "method": method, "replicate": 0,
         "evaluations": evaluations, "metric": metric, "value": round(float(values.quantile(q)), 6)}
        for (d, method, evaluations), values in compared.groupby(["d", "method", "evaluations"])["value"]
        for metric, q in QUARTILES.items()
    ]  # fmt: skip
