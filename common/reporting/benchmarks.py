"""Benchmarks: many methods on one suite of problems, from result rows to tables; there is nothing to judge.

Replicate k is the same fold (shift, rotation, seed) for every method. Not every method has every fold or every problem:
each number says how many folds it rests on, ranks are among the methods that have the fold, and a difference is taken
over what both methods have.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval, bootstrap_mean, paired_difference, wilson_interval
from common.reporting.claims import HIT, Benchmark
from common.reporting.rows import select_rows

PROBLEM = ["problem", "d"]
CELL_COLUMNS = [
    "method", *PROBLEM, "evaluations", "n", "mean", "low", "high", "median",
    "solved", "solved_low", "solved_high", "rank",
]  # fmt: skip
TOTAL_COLUMNS = [
    "evaluations", "method", "problems", "n", "solved", "solved_low", "solved_high", "rank", "best",
    "difference", "difference_low", "difference_high",
]  # fmt: skip
HIT_COLUMNS = ["method", *PROBLEM, "n", "budget", "median", "best"]
RESAMPLES = 2_000
"""Of each cell, where there may be thousands; the totals have those of `bootstrap_mean`."""

UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class BenchmarkTables:
    """What is known of a benchmark; methods are in the benchmark's order, or else in that of the rows.

    Attributes:
        cells: a line per (method, problem, d, evaluations): folds ``n``, the mean of the metric with its bootstrap
            interval, the median, the share of folds ``solved`` with Wilson's interval, ``rank``: the mean over folds
            of the method's rank (solved runs tie, the others go by value), and ``best``: no method has a lower mean,
            with solved runs as equals.
        totals: a line per (evaluations, method), the most solved first: on how many ``problems`` the method was run
            and on how many folds ``n`` it was run on all of them; over these folds the share solved and its interval
            by bootstrap over folds; the mean ``rank`` over problems; on how many problems it is ``best`` (ties count);
            the paired ``difference`` of shares, reference minus method, over the problems and folds that both have.
        hits: a line per (method, problem, d): the ``median`` over folds of the evaluations at which the target was
            met, inf where half of the folds or more never met it within ``budget``.
    """

    cells: pd.DataFrame
    totals: pd.DataFrame
    hits: pd.DataFrame


def benchmark_tables(benchmark: Benchmark, rows: pd.DataFrame) -> BenchmarkTables:
    """Return the tables of a benchmark; without rows they are empty.

    Raises:
        ValueError: two rows are about the same run and the same evaluations; the message names the benchmark.
    """
    rows = select_rows(rows, benchmark.select)
    methods = [name for name in benchmark.methods or rows["method"].unique() if (rows["method"] == name).any()]
    rows = rows[rows["method"].isin(methods)]
    rows = rows.assign(method=pd.Categorical(rows["method"], methods))  # their order is the order of every table
    rows = rows.sort_values([*PROBLEM, "method", "evaluations", "replicate"])
    at_levels = (rows["metric"] == benchmark.metric) & rows["evaluations"].isin(benchmark.evaluations)
    values, hits = rows[at_levels], rows[rows["metric"] == HIT]
    _refuse_mixed(values, benchmark)
    _refuse_mixed(hits, benchmark)
    excess = (values["value"] - benchmark.target).clip(lower=0).fillna(math.inf)  # 0 is solved; a value of nan is last
    values = values.assign(excess=excess, solved=(excess == 0).astype(float))
    values["rank"] = values.groupby([*PROBLEM, "evaluations", "replicate"])["excess"].rank()
    cells = _cells(values)
    return BenchmarkTables(cells, _totals(values, cells, benchmark.reference), _hits(hits))


def _refuse_mixed(rows: pd.DataFrame, benchmark: Benchmark) -> None:
    key = [*PROBLEM, "method", "replicate", "evaluations"]
    mixed = rows.duplicated(key)
    if mixed.any():
        run = dict(rows.loc[mixed.idxmax(), key])
        raise ValueError(f"benchmark {benchmark.id}: several rows for {run}; say in 'select' which are meant")


def _cells(values: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for key, fold in values.groupby(["method", *PROBLEM, "evaluations"], observed=True):
        mean = bootstrap_mean(fold["value"], resamples=RESAMPLES)
        solved = _share(int(fold["solved"].sum()), len(fold))
        lines.append(
            [*key, len(fold), *mean, fold["value"].median(), *solved, fold["rank"].mean(), fold["excess"].mean()]
        )
    cells = pd.DataFrame(lines, columns=[*CELL_COLUMNS, "excess"])
    lowest = cells.groupby([*PROBLEM, "evaluations"])["excess"].transform("min")
    return cells.assign(best=cells["excess"] == lowest).drop(columns="excess")


_share = functools.cache(wilson_interval)


def _totals(values: pd.DataFrame, cells: pd.DataFrame, reference: str) -> pd.DataFrame:
    lines = []
    for evaluations, level in values.groupby("evaluations"):
        solved = {
            method: runs.pivot(index="replicate", columns=PROBLEM, values="solved")  # folds x problems
            for method, runs in level.groupby("method", observed=True)
        }
        for method, table in solved.items():
            of_method = cells[(cells["method"] == method) & (cells["evaluations"] == evaluations)]
            shares = table.dropna().mean(axis=1)
            share = bootstrap_mean(shares) if len(shares) else UNKNOWN
            compared = reference in solved and method != reference
            difference = _difference(solved[reference], table) if compared else UNKNOWN
            ranks = [of_method["rank"].mean(), int(of_method["best"].sum())]
            lines.append([evaluations, method, table.shape[1], len(shares), *share, *ranks, *difference])
    totals = pd.DataFrame(lines, columns=TOTAL_COLUMNS)
    order = ["evaluations", "solved", "rank"]
    return totals.sort_values(order, ascending=[True, False, True], kind="stable", ignore_index=True)


def _difference(first: pd.DataFrame, second: pd.DataFrame) -> Interval:
    """Return the paired difference of two tables, folds x problems, on the problems and folds that both have."""
    problems = first.columns.intersection(second.columns)
    shares = [table[problems].dropna().mean(axis=1) for table in (first, second)]
    pairs = pd.concat(shares, axis=1, join="inner").to_numpy()
    return paired_difference(pairs[:, 0], pairs[:, 1]) if pairs.size and len(problems) else UNKNOWN


def _hits(rows: pd.DataFrame) -> pd.DataFrame:
    runs = rows.groupby(["method", *PROBLEM], observed=True)
    rows = rows[rows["evaluations"] == runs["evaluations"].transform("max")]  # the runs with the largest budget
    lines = [
        [*key, len(fold), fold["evaluations"].iloc[0], np.median(fold["value"])]
        for key, fold in rows.groupby(["method", *PROBLEM], observed=True)
    ]
    hits = pd.DataFrame(lines, columns=HIT_COLUMNS[:-1])
    lowest = hits.groupby(PROBLEM)["median"].transform("min")
    return hits.assign(best=(hits["median"] == lowest) & np.isfinite(hits["median"].astype(float)))
