"""What the amplifier's experiments share: starts, searches for the best figure of merit, and their rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.reporting.rows import Row
from common.training.keys import key_seed, torch_generator
from papers.gradpie.experiments.descents import Statistics, online_rows, step_queries
from papers.gradpie.online import Descent, Learning, LearningSurrogate, Moves
from papers.gradpie.simulators.ngspice import NgSpiceMissing
from papers.gradpie.simulators.opamp import OpAmp, figure_of_merit
from papers.gradpie.simulators.pdk import PdkError


def _quantile(values: Tensor, share: float) -> float:
    return float(np.quantile(values.numpy(), share, method="median_unbiased"))


FOM: Statistics = MappingProxyType(
    {
        "fom": torch.mean,
        "std": torch.std,
        "lower_quartile": lambda values: _quantile(values, 0.25),
        "median": lambda values: _quantile(values, 0.5),
        "upper_quartile": lambda values: _quantile(values, 0.75),
    }
)


class Search(NamedTuple):
    """What the ``S`` starts of a method have found.

    Attributes:
        curve: the best figure of merit so far, after the first queries and every iteration, ``(T + 1) x S``.
        best: where it is in the end, ``S x 10``.
        queries: simulations of all starts; failures: those without a solution.
    """

    curve: Tensor
    best: Tensor
    queries: int
    failures: int


def require_simulator(settings: Mapping[str, Any]) -> None:
    """End the program with the status of a missing tool and the command that installs it, unless `OpAmp` works.

    The flattened models are then in the cache, where the processes of the fan-out find them.
    """
    try:
        with OpAmp(**settings) as amplifier:
            _ = amplifier.source
    except (NgSpiceMissing, PdkError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(os.EX_UNAVAILABLE) from None


def seeds_of(params: Mapping[str, Any], replicate: int) -> list[int]:
    """Return the seeds of the starts of a replicate."""
    return [key_seed(params["seed"], "start", replicate, k) for k in range(params["starts"])]


def first_queries(seeds: Sequence[int], count: int) -> Tensor:
    """Return the first ``count`` queries of every start, uniform in the unit cube, ``S x count x 10``."""
    return _uniform(seeds, "first queries", count)


def descend(amplifier: OpAmp, seeds: Sequence[int], settings: Mapping[str, Any]) -> Search:
    """Descend along surrogates that learn on the way (Algorithm 1).

    Args:
        amplifier: one whose outputs are its measures.
        settings: ``initial``, n_0; ``iterations``, T; ``local_samples``, p; ``moves``, see `Moves`; ``learning``, see
            `Learning`; ``sweep``, see `merit`.
    """
    descent = Descent(
        first_queries(seeds, settings["initial"]),
        lambda outputs: -outputs[:, 0],
        LearningSurrogate(seeds, Learning(**settings["learning"])),
        seeds,
        Moves(local_samples=settings["local_samples"], **settings["moves"]),
        amplifier.bounds,
    )
    failures = amplifier.failures
    descent.run(lambda U: merit(amplifier, U, settings["sweep"])[:, None], settings["iterations"])
    return Search(-torch.stack(descent.best), descent.best_x, descent.queries, amplifier.failures - failures)


def random_search(amplifier: OpAmp, seeds: Sequence[int], settings: Mapping[str, Any]) -> Search:
    """Query the first queries of `descend`, and then as many uniform points in every iteration as it does."""
    initial, cost = settings["initial"], step_queries(settings)
    further = _uniform(seeds, "random search", settings["iterations"] * cost)
    U = torch.cat([first_queries(seeds, initial), further], dim=1)
    failures = amplifier.failures
    values = merit(amplifier, U.flatten(0, 1), settings["sweep"]).view(U.shape[:2])
    curve = values.cummax(1).values[:, initial - 1 :: cost].T
    best = U[torch.arange(len(U)), values.argmax(1)]
    return Search(curve, best, values.numel(), amplifier.failures - failures)


def merit(amplifier: OpAmp, U: Tensor, sweep: float) -> Tensor:
    """Return the figures of merit at ``U`` (``n x 10``), ``n``, where frequencies beyond ``sweep`` (Hz) don't count.

    Without a load some sizings hand the signal through to beyond 10 GHz, which would be worth 100 alone.
    """
    gain, bandwidth, phase_margin = amplifier(U).unbind(1)
    measures = torch.stack([gain, bandwidth.clamp(max=sweep), phase_margin], dim=1)
    return figure_of_merit(measures, amplifier.fom, amplifier.floor)


def search_rows(search: Search, settings: Mapping[str, Any], **key: object) -> list[Row]:
    """Return the rows of a search, by iterations and by queries; see `online_rows`."""
    return online_rows(search.curve, settings, FOM, **key)


def winner_rows(amplifier: OpAmp, search: Search, settings: Mapping[str, Any], **key: object) -> list[Row]:
    """Return what kind of amplifiers the best ones of all starts are, simulated once more, and what they have cost.

    Medians over starts of the gain (dB), the bandwidth (MHz) and the phase margin (degrees). "stable" is the percentage
    of starts whose best amplifier has a positive margin; the others would oscillate as voltage followers. "queries" are
    those of a start, "failed" is the percentage of them without a solution.
    """
    gain, bandwidth, phase_margin = amplifier(search.best).unbind(1)
    found = {
        "gain": _quantile(20 * gain.log10(), 0.5),
        "bandwidth": _quantile(bandwidth / 1e6, 0.5),
        "phase_margin": _quantile(phase_margin, 0.5),
        "stable": 100 * float((phase_margin > 0).double().mean()),
        "first_queries": settings["initial"],
        "queries": search.queries / len(search.best),
        "failed": 100 * search.failures / search.queries,
    }
    return [
        {**key, "experiment": "winners", "evaluations": settings["iterations"], "metric": metric,
         "value": round(value, 6)}
        for metric, value in found.items()
    ]  # fmt: skip


def _uniform(seeds: Sequence[int], purpose: str, count: int) -> Tensor:
    drawn = [torch.rand(count, 10, generator=torch_generator(s, purpose), dtype=torch.float64) for s in seeds]
    return torch.stack(drawn)
