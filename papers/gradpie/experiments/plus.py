"""What the comparisons of GradPIEPlus with other methods share: tasks, all methods, and the rows of queries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.optimize
import torch
from torch import Tensor

from common.experiments import map_rows
from common.objective import Objective, StopRun
from common.optimizers.cmaes import default_population, new_strategy
from common.reporting.rows import Row
from common.training.keys import numpy_generator, torch_generator
from papers.gradpie.experiments.bayopt import TURN, bayes_opt
from papers.gradpie.experiments.controls import LinearFit
from papers.gradpie.experiments.peers import one_plus_one, spsa
from papers.gradpie.experiments.turbo import turbo
from papers.gradpie.online import Descent, GradientSource, Learning, LearningSurrogate, Moves
from papers.gradpie.plus import GradPIEPlus

PLUS = "gradpie plus"


class Task(NamedTuple):
    """A black box to be minimized with exactly ``queries`` queries.

    Attributes:
        function: maps ``n x d`` to outputs ``n x o``; loss: maps these to ``n`` values.
        box: ``2 x d``; one turn of each variable where ``periodic``.
        start: where local searches begin, ``d``; None where all begin anywhere in the box.
        first: the first queries of descents and models, ``n_0 x d``.
        target: what the outputs should be, ``o``, where methods may learn them one by one; None where not.
    """

    function: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor]
    box: Tensor
    periodic: bool
    start: Tensor | None
    first: Tensor
    queries: int
    target: Tensor | None = None

    @property
    def begin(self) -> Tensor:
        """Return the point at which local searches begin."""
        return self.first[0] if self.start is None else self.start

    def at(self, unit: Tensor) -> Tensor:
        """Return points given in units of the box."""
        return self.box[0] + (self.box[1] - self.box[0]) * unit

    def unit(self, x: Tensor) -> Tensor:
        """Return points in units of the box."""
        return (x - self.box[0]) / (self.box[1] - self.box[0])


class Recorded:
    """A task's black box that keeps the losses of all queries, and raises `StopRun` once there are too many."""

    def __init__(self, task: Task) -> None:
        self.task, self.losses = task, torch.empty(0, dtype=torch.float64)

    def outputs(self, x: Tensor) -> Tensor:
        """Query ``n x d`` for outputs, ``n x o``; points are clipped to the box, unless it is periodic."""
        left = self.task.queries - len(self.losses)
        if left <= 0:
            raise StopRun({}, "no queries are left")
        inside = x if self.task.periodic else x.clamp(self.task.box[0], self.task.box[1])
        outputs = self.task.function(inside)
        self.losses = torch.cat([self.losses, self.task.loss(outputs)[:left]])
        return outputs

    def __call__(self, x: Tensor) -> Tensor:
        """Query ``... x d`` for losses, ``...``."""
        return self.task.loss(self.outputs(x.flatten(0, -2))).view(x.shape[:-1])

    def of_unit(self, unit: Tensor) -> Tensor:
        return self(self.task.at(unit))


def run_method(task: Task, method: str, settings: Mapping[str, Any], seed: int) -> Tensor:
    """Return the losses of exactly ``task.queries`` queries of a method, in their order.

    Args:
        settings: ``kind``, one of `KINDS`, and what the method takes.
    """
    recorded = Recorded(task)
    options = {name: value for name, value in settings.items() if name != "kind"}
    with contextlib.suppress(StopRun):
        KINDS[settings["kind"]](recorded, seed, **options)
    if len(recorded.losses) != task.queries:
        raise RuntimeError(f"{method} made {len(recorded.losses)} queries instead of {task.queries}")
    return recorded.losses


def _plus(recorded: Recorded, seed: int, **options: Any) -> None:
    task = recorded.task
    optimizer = GradPIEPlus(x0=task.start, periodic=task.periodic, **options)
    if task.target is None:
        objective = Objective(recorded, task.box)
    else:
        objective = Objective(recorded.outputs, task.box, scalarize=task.loss)
    optimizer.minimize(objective, task.queries, seed)


def _random(recorded: Recorded, seed: int) -> None:
    task = recorded.task
    generator = torch_generator(seed, "random search")
    recorded(task.at(torch.rand(task.queries, task.box.shape[1], generator=generator, dtype=torch.float64)))


def _spsa(recorded: Recorded, seed: int, radius: float, step_size: float) -> None:
    spsa(recorded, recorded.task.begin[None], [seed], recorded.task.queries, radius, step_size)


def _one_plus_one(recorded: Recorded, seed: int, sigma: float) -> None:
    one_plus_one(recorded, recorded.task.begin[None], [seed], recorded.task.queries, sigma)


def _cmaes(recorded: Recorded, seed: int, sigma: float, diagonal: bool = False, local: bool = True) -> None:
    """CMA-ES from the start, or from anywhere in the box, restarted with a population twice as large."""
    task, runs = recorded.task, 0
    dim = task.box.shape[1]
    while True:
        options = {"popsize": default_population(dim) * 2**runs, "CMA_diagonal": diagonal}
        if local:
            options["bounds"] = None
        strategy = new_strategy(numpy_generator(seed, "cmaes", runs), dim, sigma, options)
        shift = task.unit(task.begin) - torch.from_numpy(strategy.x0) if local else torch.zeros(dim)
        while not strategy.stop():
            points = strategy.ask()
            strategy.tell(points, recorded.of_unit(torch.from_numpy(np.array(points)) + shift).tolist())
        runs += 1


def _descent(
    recorded: Recorded, seed: int, moves: Mapping[str, Any], learning: Mapping[str, Any], linear: bool = False
) -> None:
    task = recorded.task
    source: GradientSource = (
        LinearFit(learning["window"]) if linear else LearningSurrogate([seed], Learning(**learning))
    )
    free = task.periodic or task.start is not None
    outputs_known = task.target is not None
    loss: Callable[[Tensor], Tensor] = task.loss if outputs_known else _only_output
    black_box = recorded.outputs if outputs_known else _as_output(recorded)
    descent = Descent(task.first[None], loss, source, [seed], Moves(**moves), None if free else task.box)
    descent.run(black_box, task.queries)


def _only_output(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def _as_output(recorded: Recorded) -> Callable[[Tensor], Tensor]:
    return lambda x: recorded(x)[:, None]


def _gauss_newton(recorded: Recorded, seed: int) -> None:
    """Least squares by finite differences (Branch, Coleman and Li, 1999), restarted where it ends, by SciPy."""
    target, generator = recorded.task.target, numpy_generator(seed, "restart")

    assert target is not None

    def residuals(point: np.ndarray) -> np.ndarray:
        return (recorded.outputs(torch.from_numpy(point)[None])[0] - target).numpy()

    x = recorded.task.begin.numpy()
    while True:
        found = scipy.optimize.least_squares(residuals, x)
        x = found.x + 0.01 * generator.standard_normal(len(x))


def _turbo(recorded: Recorded, seed: int, initial: int | None = None, **options: Any) -> None:
    task = recorded.task
    turbo(recorded.of_unit, task.unit(task.first[:initial]), seed, task.queries, not task.periodic, **options)


def _bayopt(recorded: Recorded, seed: int, initial: int | None = None, **options: Any) -> None:
    task = recorded.task
    first = TURN * task.unit(task.first[:initial])
    iterations = task.queries - len(first)
    bayes_opt(lambda x: recorded.of_unit(x / TURN), first, seed, iterations, task.periodic, **options)


KINDS: dict[str, Callable[..., None]] = {
    "plus": _plus,
    "random": _random,
    "spsa": _spsa,
    "(1+1)-es": _one_plus_one,
    "cmaes": _cmaes,
    "descent": _descent,
    "gauss-newton": _gauss_newton,
    "turbo": _turbo,
    "bayopt": _bayopt,
}


def query_rows(
    losses: Mapping[tuple[int, str], Tensor], levels: Sequence[int], targets: Mapping[str, str | float],
    budgets: Sequence[int], **key: object,
) -> list[Row]:  # fmt: skip
    """Return the best loss so far at some numbers of queries, and the queries to targets within some budgets.

    A target is a number, or a method: the best loss that this one has within the budget, from the same start. "queries"
    are those until a method is there, one more than the budget where it never is; "log queries" is their natural
    logarithm, and "reached" whether it is; "log ratio" is GradPIEPlus's logarithm less that of the other method that it
    is worst against on average. The number of evaluations of these rows is the budget; a method with fewer queries has
    none.

    Args:
        losses: of all queries in their order, or the best so far, by replicate and method.
    """
    best = {place: values.cummin(0).values for place, values in losses.items()}
    rows: list[Row] = [
        {**key, "experiment": "queries", "method": method, "replicate": replicate, "evaluations": count,
         "metric": "best", "value": round(float(values[count - 1]), 6)}
        for (replicate, method), values in best.items()
        for count in levels if count <= len(values)
    ]  # fmt: skip
    for name, target in targets.items():
        for budget in budgets:
            within = {place: values[:budget] for place, values in best.items() if len(values) >= budget}
            rows += _target_rows(within, target, budget, experiment=f"target {name}", **key)
    return rows


def _target_rows(best: Mapping[tuple[int, str], Tensor], target: str | float, budget: int, **key: object) -> list[Row]:
    found = {}
    for (replicate, method), values in best.items():
        if isinstance(target, str) and (replicate, target) not in best:
            continue
        level = float(best[replicate, target][-1]) if isinstance(target, str) else target
        reached = values <= level
        queries = int(reached.int().argmax()) + 1 if reached.any() else budget + 1
        found[replicate, method] = {
            "log queries": math.log(queries), "queries": queries, "reached": float(reached.any())
        }  # fmt: skip
    rows: list[Row] = [
        {**key, "method": method, "replicate": replicate, "evaluations": budget, "metric": metric,
         "value": round(value, 6)}
        for (replicate, method), metrics in found.items()
        for metric, value in metrics.items()
    ]  # fmt: skip
    if not found:
        return rows
    logs = pd.Series({place: metrics["log queries"] for place, metrics in found.items()}).unstack()
    others = logs.drop(columns=[name for name in logs if name.startswith(PLUS)])
    excess = others.rsub(logs[PLUS], axis=0)  # on the starts that the other has
    if excess.empty:
        return rows
    return rows + [
        {**key, "method": PLUS, "replicate": replicate, "evaluations": budget, "metric": "log ratio",
         "value": round(float(value), 6)}
        for replicate, value in excess[excess.mean().idxmax()].dropna().items()
    ]  # fmt: skip


def compare(
    search: Callable[[dict[str, Any], Path, tuple[int, str]], list[Row]], params: dict[str, Any], cache: Path,
    known: Mapping[tuple[int, str], Tensor] = MappingProxyType({}), **key: object,
) -> list[Row]:  # fmt: skip
    """Run all methods, the slow ones (``few``) from the first starts only, and return `query_rows`.

    Args:
        search: returns the rows of `loss_rows` of a replicate and a method.
        known: losses of further methods, by replicate and method.
    """
    tasks = [
        (replicate, method)
        for method in params["searches"]
        for replicate in range(min(params["few"].get(method, params["replicates"]), params["replicates"]))
    ]
    table = pd.DataFrame(map_rows(search, params, cache, tasks))
    losses = {
        (replicate, method): torch.from_numpy(block["value"].to_numpy(copy=True))
        for (replicate, method), block in table.groupby(["replicate", "method"], sort=False)
    }
    return query_rows({**losses, **known}, params["levels"], params["targets"], params["budgets"], **key)


def loss_rows(task: Task, params: Mapping[str, Any], replicate: int, method: str, seed: int) -> list[Row]:
    """Run a method and return the losses of all queries, a row each; the slowest make fewer (``short``)."""
    task = task._replace(queries=min(params.get("short", {}).get(method, task.queries), task.queries))
    losses = run_method(task, method, params["searches"][method], seed)
    return [{"replicate": replicate, "method": method, "value": value} for value in losses.tolist()]
