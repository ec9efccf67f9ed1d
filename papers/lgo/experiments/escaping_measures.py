"""What the escaping experiments measure: promising directions, the minima they lead to, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.environments import Mixtures, better_minima
from papers.lgo.escape import Escapes
from papers.lgo.policy import Draws, draw

SHALLOW = 0.3  # times a depth of 1.5 to 3, where the start's is 1
EVERY = 5  # directions between two points of the course of minima

Found = dict[tuple[str, int], float]
"""(metric, number of chosen directions) -> value."""


def drawn_problems(
    params: Mapping[str, Any], d: int, replicate: int, initial: int, steps: int
) -> tuple[Mixtures, Draws]:
    """Return a replicate's functions for ``d`` variables, which no training has seen, and one trajectory's draws each.

    The functions are the same whatever the lengths of the trajectories. Of their wells, all deeper than the start's,
    ``params["problems"][d]["shallow"]`` (none by default) are made shallower than it, see ``SHALLOW``.
    """
    law = dict(params["problems"][d])
    shallow = law.pop("shallow", 0)
    seeds = [key_seed(params["seed"], "test", replicate, i) for i in range(params["functions"])]
    functions = Mixtures.sample(d, seeds, **law)
    if shallow:
        depths = functions.depths.clone()
        depths[:, 1 : 1 + shallow] *= SHALLOW
        functions = Mixtures(functions.centers, functions.widths, depths)
    return functions, draw(seeds, d, initial, steps)


def measured(functions: Mixtures, escapes: Escapes, initial: int, price: float) -> Found:
    """Return means over functions, of directions (``F x n``) of which the first ``initial`` were not chosen.

    ``hit_rate``: percentage of the chosen directions that are promising; ``hit``: of those that were chosen as t-th.
    ``minima``: distinct better minima in whose basins the points of promising directions lie, the initial ones among
    them; ``minima_after``: those of the first t. ``gradients``: those of the escapes. ``minima_per_1000``: of these and
    of a local search from each point, which costs ``price``. ``better``: percentage of the points of promising
    directions that lie in the basin of a better minimum; absent where there is no such point.
    """
    tried = escapes.scores.shape[1]
    chosen, promising = tried - initial, escapes.promising
    better, new = better_minima(functions, escapes)
    minima = float(new.double().sum(1).mean())
    gradients = float(escapes.evaluations.double().sum(1).mean())
    cost = gradients + price * float(promising.double().sum(1).mean())
    hits = 100 * promising[:, initial:].double()
    found: Found = {("hit", t + 1): float(share) for t, share in enumerate(hits.mean(0))}
    found |= {
        ("minima_after", t): float(new[:, : initial + t].double().sum(1).mean()) for t in range(0, chosen + 1, EVERY)
    }
    final = {
        "hit_rate": float(hits.mean()),
        "minima": minima,
        "gradients": gradients,
        "minima_per_1000": 1000 * minima / cost,
    }
    if promising.any():
        final["better"] = 100 * float(better[promising].double().mean())
    return found | {(metric, chosen): value for metric, value in final.items()}


def found_rows(found: Found, **key: object) -> list[Row]:
    """Return what `measured` found as rows."""
    return [
        {**key, "evaluations": chosen, "metric": metric, "value": float(f"{value:.5g}")}
        for (metric, chosen), value in found.items()
    ]
