"""``globopt compare``: methods on one function, paired by seed, and who wins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from common.metrics.intervals import bootstrap_mean, paired_difference
from common.optimizers import get_optimizer
from common.optimizers.base import INTERRUPTED
from common.parallel import map_tasks
from common.reporting.figures import save_figure
from common.reporting.files import write_text
from common.reporting.tables import interval, number
from papers.cli import DONE, FAILED, UsageError
from papers.cli.curves import draw_curves, run_curve
from papers.cli.methods import aligned
from papers.cli.minimize import guarded_minimize, make_folder
from papers.cli.problem import Problem

Task = tuple[int, str]
"""Seed and method."""


def run(options: argparse.Namespace) -> int:
    """Run every method with every seed; print the table and who wins, save what ``--out`` asks for."""
    problem = Problem.from_options(options)
    objective = problem.objective()
    methods = list(dict.fromkeys(options.methods.split(",")))
    _refuse_unusable(objective, methods)
    make_folder(options.out)
    runs = _runs(problem, methods, options)
    if runs.empty:
        print("interrupted before every method had finished a run", file=sys.stderr)
        return FAILED
    failures = runs.loc[runs["failure"] != "", "failure"]
    if len(failures):
        print(f"{len(failures)} runs failed, first: {failures.iloc[0]}", file=sys.stderr)
    table = comparison(runs)
    seeds = runs["seed"].nunique()
    title = f"{problem}, d = {objective.dim}, {seeds} seeds"
    print(f"{title}, {options.budget} evaluations a run")
    print(_text(table))
    print(verdict(table))
    if options.out is not None:
        print(f"saved {', '.join(map(str, _save(runs, table, title, options)))}")
    return DONE if failures.empty and seeds == options.seeds else FAILED


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row a method, the lowest mean first: its mean best value, and by how much that is above the first.

    Args:
        runs: columns ``seed``, ``method``, ``value`` and ``failure`` (its message, or empty); all methods have the
            same seeds.

    Returns:
        Columns ``method``, ``mean``, ``low``, ``high`` (95% bootstrap interval), ``median``, ``above``, ``above_low``,
        ``above_high`` (mean difference to the first method, paired by seed) and ``failed`` (runs).
    """
    values = runs.pivot(index="seed", columns="method", values="value")
    failed = (runs["failure"] != "").groupby(runs["method"]).sum()
    order = sorted(values, key=lambda method: values[method].mean())
    rows = [
        (
            method,
            *bootstrap_mean(values[method]),
            values[method].median(),
            *paired_difference(values[method], values[order[0]]),
            failed[method],
        )
        for method in order
    ]
    columns = ["method", "mean", "low", "high", "median", "above", "above_low", "above_high", "failed"]
    return pd.DataFrame(rows, columns=columns)


def verdict(table: pd.DataFrame) -> str:
    """Return in words who wins, from `comparison`."""
    leader, *others = table["method"]
    if not others:
        return f"{leader} ran alone."
    ties = [method for method, low in zip(others, table["above_low"][1:], strict=True) if not low > 0]
    if not ties:
        return f"{leader} wins: every other mean is higher, by a paired 95% interval above 0."
    return f"{leader} has the lowest mean, but is not told apart from {', '.join(ties)}: more --seeds, or a tie."


def _refuse_unusable(objective: Any, methods: Sequence[str]) -> None:
    """Raise a `UsageError` before anything is run in vain: an unknown method, or gradients that are missing."""
    try:
        first_order = [name for name in methods if get_optimizer(name).needs_gradient]
    except ValueError as error:
        raise UsageError(str(error)) from error
    if first_order:
        guarded_minimize(objective, first_order[0], budget=1, seed=0)


def _runs(problem: Problem, methods: Sequence[str], options: argparse.Namespace) -> pd.DataFrame:
    """Return a row a run; after Ctrl-C those of the seeds that all methods have finished."""
    tasks = [(seed, method) for seed in range(options.seeds) for method in methods]
    with TemporaryDirectory(prefix="globopt-") as folder:
        compute = partial(map_tasks, partial(_run, problem, options.budget), key=_name, cache=Path(folder))
        try:
            runs = compute(tasks, workers=options.workers)
        except KeyboardInterrupt:
            finished = [task for task in tasks if (Path(folder) / f"{_name(task)}.json").exists()]
            seeds = [seed for seed, _ in finished]
            tasks = [task for task in finished if seeds.count(task[0]) == len(methods)]
            runs = compute(tasks, workers=1)  # reads them
    return pd.DataFrame(
        [{"seed": seed, "method": method, **run} for (seed, method), run in zip(tasks, runs, strict=True)]
    )


def _name(task: Task) -> str:
    return "-".join(map(str, task))


def _run(problem: Problem, budget: int, task: Task) -> dict[str, Any]:
    seed, method = task
    result = guarded_minimize(problem.objective(), method, budget, seed)
    if result.status == INTERRUPTED:
        raise KeyboardInterrupt  # it is not finished
    failure = result.message if result.status < 0 else ""
    return {"value": result.fun, "history": result.history, "failure": failure}


def _text(table: pd.DataFrame) -> str:
    header = ("METHOD", "BEST VALUE", "95% INTERVAL", "MEDIAN", "ABOVE THE FIRST", "95% INTERVAL", "FAILED")
    rows = [
        (
            row.method,
            number(row.mean),
            interval(row.low, row.high),
            number(row.median),
            number(row.above) if row.Index else "",
            interval(row.above_low, row.above_high) if row.Index else "",
            str(row.failed),
        )
        for row in table.itertuples()
    ]
    return aligned([header, *rows])


def _save(runs: pd.DataFrame, table: pd.DataFrame, title: str, options: argparse.Namespace) -> list[Path]:
    curves = pd.concat(run_curve(row.method, row.seed, row.history, options.budget) for row in runs.itertuples())
    for name, content in (("table", table), ("curves", curves)):
        write_text(options.out / f"{name}.csv", content.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
    save_figure(draw_curves(curves, title), options.out / "curves")
    return [options.out / name for name in ("table.csv", "curves.csv", "curves.svg", "curves.png")]
