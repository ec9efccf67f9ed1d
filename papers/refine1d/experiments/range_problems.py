"""Sample sets over the whole range of the general prior, the same for the learned posterior and for its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.functions.splines import Samples, Splines
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.refine1d.experiments.posterior_testing import Answers, chances, joined, rows_of, scores
from papers.refine1d.prior import GeneralPrior, Setting

BAND_METRICS = ("error", "crps", "covered_90")
NOISE_BANDS = ((0.01, 0.03), (0.03, 0.1), (0.1, 0.2), (0.2, 0.4))
COUNT_BANDS = ((5, 9), (10, 24), (25, 79), (80, 199), (200, 500))
INTERVAL_BANDS = ((5, 8), (9, 16), (17, 33))


class Measured(NamedTuple):
    """Functions that were measured in the same way."""

    setting: Setting
    functions: Splines
    samples: Samples


def draw(params: Mapping[str, Any], replicate: int) -> list[Measured]:
    """Return the groups of a replicate; no training has seen their functions."""
    prior, seed, size = GeneralPrior(), key_seed(params["seed"], "posterior test"), params["group"]
    groups = []
    for number in range(replicate * params["groups"], (replicate + 1) * params["groups"]):
        setting, indices = prior.setting(seed, number), range(number * size, (number + 1) * size)
        functions = prior.functions.sample(seed, indices)
        groups.append(Measured(setting, functions, prior.measure(functions, setting, seed, indices)))
    return groups


def judged_range(
    experiment: str, params: Mapping[str, Any], replicate: int, answers: Callable[[Samples], Answers]
) -> list[Row]:
    """Return the scores of the answers to a replicate's sample sets, of all and in bands."""
    groups, size = draw(params, replicate), params["group"]
    parts = []
    for number, group in enumerate(groups, start=replicate * params["groups"]):
        chance = chances(params["seed"], range(number * size, (number + 1) * size))
        parts.append(scores(answers(group.samples), group.functions.minimizers, chance))
    found = joined(parts, [size] * len(groups))
    rows = rows_of(found, replicate, experiment=experiment, problem="general")
    for band, chosen in bands(groups, params["gp_most"]):
        rows += rows_of(found, replicate, chosen, BAND_METRICS, experiment=experiment, problem=f"general, {band}")
    return rows


def bands(groups: list[Measured], gp_most: int) -> Iterator[tuple[str, Tensor]]:
    """Yield names of parts of the range with the mask of their functions."""
    size = len(groups[0].functions)
    count, noise, design = (
        [getattr(group.setting, name) for group in groups for _ in range(size)] for name in ("count", "noise", "design")
    )
    counts = torch.tensor(count)
    values = [group.functions(group.samples.x) for group in groups]
    ranges = torch.cat([v.amax(1) - v.amin(1) for v in values])
    shares = torch.cat([group.samples.sigma for group in groups]) / ranges
    intervals = torch.cat([group.functions.intervals for group in groups])
    minimizers = torch.cat([group.functions.minimizers for group in groups])
    for low, high in NOISE_BANDS:
        yield f"noise {100 * low:g}-{100 * high:g}%", (shares >= low) & (shares < high)
    for first, last in COUNT_BANDS:
        yield f"n {first}-{last}", (counts >= first) & (counts <= last)
    yield f"n at most {gp_most}", counts <= gp_most
    for first, last in INTERVAL_BANDS:
        yield f"knots {first}-{last}", (intervals >= first) & (intervals <= last)
    for kind in sorted(set(noise)):
        yield f"{kind} noise", torch.tensor([name == kind for name in noise])
    for kind in sorted(set(design)):
        yield f"{kind} x", torch.tensor([name == kind for name in design])
    yield "minimum at an end", (minimizers == 0) | (minimizers == 1)
