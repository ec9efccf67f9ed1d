"""The limit and the peers over the whole range of the general prior, in all and in bands of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.functions.splines import Samples
from common.reporting.rows import Row
from papers.refine1d.experiments.posterior_peers import peer_answers
from papers.refine1d.experiments.posterior_testing import Answers
from papers.refine1d.experiments.range_problems import judged_range
from papers.refine1d.general_oracle import GeneralOracle


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask for the minima of the functions of `posterior_range`.

    ``oracle`` is the posterior under the prior; the GPs answer where n is at most ``gp_most``.
    """
    return map_rows(_set, params, cache, [("general", replicate) for replicate in range(params["replicates"])])


def _set(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    oracle = GeneralOracle(draws=params["draws"])

    def answers(samples: Samples) -> Answers:
        peers = peer_answers(samples, gp=samples.x.shape[1] <= params["gp_most"])
        return {"oracle": oracle.posterior(samples.x, samples.y), **peers}

    return judged_range("posterior_range_peers", params, task[1], answers)
