"""The learned posterior over the whole range of the general prior, in all and in bands of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.experiments import map_rows
from common.functions.splines import Samples, Splines
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.refine1d.experiments.posterior_testing import chances, joined, peer_answers, rows_of, scores
from papers.refine1d.general_oracle import GeneralOracle
from papers.refine1d.posterior_weights import trained_posterior
from papers.refine1d.prior import GeneralPrior, Setting

BAND_METRICS = ("error", "crps", "covered_90", "excess")
NOISE_BANDS = ((0.01, 0.03), (0.03, 0.1), (0.1, 0.2), (0.2, 0.4))
COUNT_BANDS = ((5, 9), (10, 24), (25, 79), (80, 199), (200, 500))
INTERVAL_BANDS = ((5, 8), (9, 16), (17, 33))


class Measured(NamedTuple):
    """Functions that were measured in the same way."""

    setting: Setting
    functions: Splines
    samples: Samples


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask all for the minima; a replicate has ``groups`` groups of ``group`` functions, each measured in its own way.

    ``oracle`` is the posterior under the prior; the GPs answer where n is at most ``gp_most``.
    """
    return map_rows(_set, params, cache, [("general", replicate) for replicate in range(params["replicates"])])


def draw(params: dict[str, Any], replicate: int) -> list[Measured]:
    """Return the groups of a replicate; no training has seen their functions."""
    prior, seed, size = GeneralPrior(), key_seed(params["seed"], "posterior test"), params["group"]
    groups = []
    for number in range(replicate * params["groups"], (replicate + 1) * params["groups"]):
        setting, indices = prior.setting(seed, number), range(number * size, (number + 1) * size)
        functions = prior.functions.sample(seed, indices)
        groups.append(Measured(setting, functions, prior.measure(functions, setting, seed, indices)))
    return groups


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    _, replicate = task
    groups, parts = draw(params, replicate), []
    size, network, oracle = params["group"], trained_posterior(), GeneralOracle(draws=params["draws"])
    for number, group in enumerate(groups, start=replicate * params["groups"]):
        answers = {
            "posterior": network.posterior(group.samples.x, group.samples.y),
            "oracle": oracle.posterior(group.samples.x, group.samples.y),
            **peer_answers(group.samples, gp=group.setting.count <= params["gp_most"]),
        }
        chance = chances(params["seed"], range(number * size, (number + 1) * size))
        parts.append(scores(answers, group.functions.minimizers, chance, reference="oracle"))
    found = joined(parts, [size] * len(groups))
    rows = rows_of(found, replicate, experiment="posterior_range", problem="general")
    for band, chosen in _bands(groups, params["gp_most"]):
        rows += rows_of(
            found, replicate, chosen, BAND_METRICS, experiment="posterior_range", problem=f"general, {band}"
        )
    return rows


def _bands(groups: list[Measured], gp_most: int) -> Iterator[tuple[str, Tensor]]:
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
