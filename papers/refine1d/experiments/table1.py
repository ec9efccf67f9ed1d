"""Table 1 on many test sets, at both readings of the noise, beside methods that need no training and the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from common.experiments import map_rows
from common.functions.splines import Samples, Sampling
from common.reporting.rows import Row
from papers.refine1d.baselines import constant, interpolating_spline, lowest_on_grid, lowest_sample, smoothing_curves
from papers.refine1d.experiments.testing import (
    ITERATIONS,
    WINDOW,
    Problems,
    Task,
    search,
    statistics,
    tasks_of,
    trained_network,
)
from papers.refine1d.gp import gp_posterior
from papers.refine1d.oracle import Oracle

LOWER_IS_BETTER = ("error", "median_error", "std_error", "best_error")
AGAINST_START = ("not_worse", "gain")  # which are asked of the paper's network, that starts there, alone


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Ask every method for the minima of all functions of all sets.

    Besides the statistics there is, for the methods of ``params["as_reported"]``, ``as_good_<statistic>``: 100 where
    that of the set is at least as good as what the paper reports, and 0 elsewhere.
    """
    return map_rows(_sets, params, cache, tasks_of(params))


def _sets(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    problems = Problems.draw(params, task)
    spline = problems.by_set(problems.error(problems.start))
    answers = {**network_answers(problems.reading, problems.samples), **peer_answers(problems.samples)}
    answers |= oracle_answers(problems.reading, problems.samples)
    rows = []
    for method, answer in answers.items():
        found = statistics(problems.by_set(problems.error(answer)), spline)
        if method != "network":
            found = {name: values for name, values in found.items() if name not in AGAINST_START}
        if method in params["as_reported"]:
            found |= {
                f"as_good_{name}": _as_good(name, found[name], value) for name, value in params["reported"].items()
            }
        rows += problems.rows(found, experiment="table1", method=method)
    return rows


def network_answers(reading: str, samples: Samples) -> dict[str, Tensor]:
    """Return the answers of the paper's search, and after as many iterations as in the training, without its stop."""
    return {
        "network": search(trained_network(reading, ITERATIONS), samples).answer,
        "network as trained": search(trained_network(reading), samples, stop=False).answer,
    }


def peer_answers(samples: Samples) -> dict[str, Tensor]:
    """Return answers that need no training, with and without the window that the network knows from its labels."""
    x, y = samples.x, samples.y
    curves, gp = smoothing_curves(x, y), gp_posterior(x, y)
    answers = {"interpolating_spline": interpolating_spline(x, y), "constant": constant(x, y)}
    for window, suffix in ((None, ""), (WINDOW, " in window")):
        answers[f"lowest_sample{suffix}"] = lowest_sample(x, y, window)
        answers[f"smoothing_spline{suffix}"] = lowest_on_grid(curves, window)
        answers[f"gp_mean{suffix}"] = gp.mean_argmin(window)
        answers[f"gp_median{suffix}"] = gp.minimizers.within(window).median()
    return answers


def oracle_answers(reading: str, samples: Samples) -> dict[str, Tensor]:
    """Return the best answers to the absolute error and to the squared one, of which eq. (58) is made."""
    posterior = Oracle(sampling=Sampling(noise=reading)).posterior(samples.x, samples.y)
    return {"oracle_median": posterior.median(), "oracle_mean": posterior.mean()}


def _as_good(statistic: str, values: Tensor, reported: float) -> Tensor:
    good = values <= reported if statistic in LOWER_IS_BETTER else values >= reported
    return 100 * good.double()
