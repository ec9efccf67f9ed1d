from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.metrics.curves import best_after, evaluation_grid
from common.optimizers import minimize
from common.params import read_section
from papers.gennes.experiments import beyond
from papers.gennes.experiments.beyond import HIT, _parts
from papers.gennes.experiments.peers import SOLVED, peer_rows
from papers.gennes.problems import benchmark_problem, fold_seeds
from papers.gennes.train import PARAMS

METHODS = {
    name: settings
    for stage in ("beyond_peers", "beyond_ours")
    for name, settings in read_section(PARAMS, stage)["methods"].items()
}
ANYTIME = [name for name, settings in METHODS.items() if settings["anytime"]]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def rows_of(methods, budgets, cache, suites=("rotated",), dim=3):
    """Return the experiment's rows; ``budgets``: budget -> folds."""
    params = {
        "seed": 5,
        "replicates": 100,
        "suites": {suite: {"functions": ["rastrigin"], "dims": [dim]} for suite in suites},
        "budgets": [{"budget": budget, "replicates": folds} for budget, folds in budgets.items()],
        "methods": methods,
    }
    return pd.DataFrame(beyond.run(params, cache))


def table(rows, metric="regret"):
    """Return evaluations x folds."""
    return rows[rows["metric"] == metric].pivot(index="evaluations", columns="replicate", values="value")


@pytest.mark.parametrize(
    ("folds", "anytime", "parts"),
    [
        ({1000: 20, 10000: 20}, True, [(0, 20, 10000)]),
        ({1000: 20, 10000: 20}, False, [(0, 20, 10000), (0, 20, 1000)]),
        ({1000: 20, 10000: 20, 100000: 5}, True, [(0, 5, 100000), (5, 20, 10000)]),
        ({1000: 20, 10000: 10, 100000: 3}, True, [(0, 3, 100000), (3, 10, 10000), (10, 20, 1000)]),
        ({1000: 20, 10000: 10}, False, [(0, 10, 10000), (0, 20, 1000)]),
        ({}, True, []),
    ],
)
def test_the_runs_that_a_problem_needs(folds, anytime, parts):
    assert _parts(folds, anytime) == parts


@given(st.dictionaries(st.sampled_from([10, 100, 1000, 10000]), st.integers(1, 6)))
def test_every_fold_has_every_budget_and_an_anytime_fold_runs_once(folds):
    parts = _parts(folds, True)
    runs = [(fold, budget) for first, end, budget in parts for fold in range(first, end)]
    wanted = {fold: max(b for b, n in folds.items() if n > fold) for fold in range(max(folds.values(), default=0))}
    assert len(runs) == len(dict(runs))
    assert dict(runs) == wanted
    parts = _parts(folds, False)
    runs = [(fold, budget) for first, end, budget in parts for fold in range(first, end)]
    assert sorted(runs) == sorted((fold, budget) for budget, n in folds.items() for fold in range(n))


@pytest.mark.parametrize("name", ANYTIME)
def test_what_an_anytime_method_has_found_does_not_depend_on_what_it_may_still_spend(name, tmp_path):
    method = {name: METHODS[name]}
    small = rows_of(method, {1000: 1}, tmp_path / "small", dim=10)
    large = rows_of(method, {1000: 1, 2000: 1}, tmp_path / "large", dim=10)
    np.testing.assert_allclose(table(large).loc[[1000]], table(small), rtol=1e-6)
    hit, later = table(small, "hit").to_numpy().item(), table(large, "hit").to_numpy().item()
    assert hit == (later if later <= 1000 else math.inf)


def test_folds_in_parts_are_the_folds_together(tmp_path):
    method = {"lbfgs": {"method": "lbfgs", "anytime": True}}
    together = table(rows_of(method, {300: 4}, tmp_path / "together"))
    parts = table(rows_of(method, {100: 4, 300: 2}, tmp_path / "parts"))
    assert list(parts.columns) == [0, 1, 2, 3]
    np.testing.assert_allclose(parts.loc[300, [0, 1]], together.loc[300, [0, 1]], rtol=1e-6)
    assert parts.loc[300, [2, 3]].isna().all()
    alone = table(rows_of(method, {100: 4}, tmp_path / "alone"))
    np.testing.assert_allclose(parts.loc[100], alone.loc[100], rtol=1e-6)


def test_fewer_folds_for_a_slow_method_and_for_the_command_line(tmp_path):
    slow = {"lbfgs": {"method": "lbfgs", "anytime": False, "replicates": {200: 1}}}
    counts = table(rows_of(slow, {100: 3, 200: 3}, tmp_path / "slow")).count(axis=1)
    assert counts.to_dict() == {100: 3, 200: 1}
    params = {
        "seed": 5, "replicates": 2, "methods": slow,
        "suites": {"rotated": {"functions": ["levy"], "dims": [2]}, "scaled": {"functions": ["levy"], "dims": [2, 3]}},
        "budgets": [{"budget": 100, "replicates": 3},
                    {"budget": 200, "replicates": 3, "suites": ["scaled"], "dims": [3]}],
    }  # fmt: skip
    rows = pd.DataFrame(beyond.run(params, tmp_path / "capped"))
    counts = rows[rows["metric"] == "regret"].groupby(["experiment", "d", "evaluations"]).size()
    assert counts.to_dict() == {
        ("rotated", 2, 100): 2, ("scaled", 2, 100): 2, ("scaled", 3, 100): 2, ("scaled", 3, 200): 1,
    }  # fmt: skip


def test_a_costly_level_is_left_out_where_all_folds_are_few(tmp_path):
    params = {
        "seed": 5, "replicates": 2, "methods": {"lbfgs": {"method": "lbfgs", "anytime": True}},
        "suites": {"rotated": {"functions": ["levy"], "dims": [2]}},
        "budgets": [{"budget": 50, "replicates": 4}, {"budget": 100, "replicates": 4, "least": 3}],
    }  # fmt: skip
    assert {row["evaluations"] for row in beyond.run(params, tmp_path / "few")} == {50}
    assert {row["evaluations"] for row in beyond.run(params | {"replicates": 3}, tmp_path / "enough")} == {50, 100}


def test_a_hit_is_the_evaluation_that_solved_or_never(tmp_path):
    method = {"lbfgs": {"method": "lbfgs", "anytime": True}}
    rows = rows_of(method, {20: 6, 60: 6, 120: 6}, tmp_path, dim=2)
    regrets, hits = table(rows), table(rows, "hit")
    assert list(hits.index) == [120]  # one run went through all three
    assert 0 < np.isfinite(hits).to_numpy().mean() < 1
    assert (hits.to_numpy() >= 1).all()
    for budget, of_budget in regrets.iterrows():
        np.testing.assert_array_equal(hits.loc[120] <= budget, of_budget <= HIT)


def test_regrets_of_scaled_problems_are_in_units_of_the_plain_ones(tmp_path):
    method = {"random": {"method": "random", "anytime": True}}
    rows = rows_of(method, {100: 3, 400: 3}, tmp_path, suites=("rotated", "scaled"))
    rotated, scaled = (table(rows[rows["experiment"] == suite]) for suite in ("rotated", "scaled"))
    np.testing.assert_allclose(scaled, rotated, rtol=1e-10)
    assert rotated.min(axis=None) > 0.1


@pytest.mark.parametrize("method", ["lbfgs", "snes", "cmaes"])
def test_the_rows_of_table_1_are_those_of_separate_runs(method):
    params = read_section(PARAMS, "table1_peers")
    options, grid = params["methods"][method], evaluation_grid(300, params["start"])
    seeds = fold_seeds(params["seed"], 3)
    problem = benchmark_problem("ackley", 4, seeds, params["shift"])
    key = {"experiment": "table1_peers", "problem": "ackley", "d": 4, "method": method}
    rows = pd.DataFrame(peer_rows(method, options, problem, seeds, budget=300, evaluations=grid, **key))
    assert (rows[list(key)] == pd.Series(key)).all(axis=None)
    for k, seed in enumerate(seeds):
        fold = problem.fold(k)
        alone = minimize(fold, fold.bounds, method, 300, seed, target=fold.optimal_value + SOLVED, **options)
        np.testing.assert_allclose(table(rows)[k], best_after(alone.history, grid) - fold.optimal_value, rtol=1e-6)


def test_folds_are_numbered_from_the_first(tmp_path):
    seeds = fold_seeds(0, 2)
    problem = benchmark_problem("rastrigin", 2, seeds)
    rows = peer_rows("random", {}, problem, seeds, budget=10, evaluations=[10], first=7, method="random")
    assert [row["replicate"] for row in rows] == [7, 8]
    assert {row["metric"] for row in rows} == {"regret"}
    hits = peer_rows("random", {}, problem, seeds, budget=10, evaluations=[10], hit=1e-8, method="random")
    assert [row["value"] for row in hits if row["metric"] == "hit"] == [math.inf, math.inf]
