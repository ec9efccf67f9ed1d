"""E3: the benchmark problems, the classical two-phase methods, and what the experiment measures."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import yaml

from common.functions import FUNCTIONS
from common.objective import Objective
from common.optimizers import minimize
from common.reporting.rows import read_rows, write_rows
from papers.lgo import classical, optimizer
from papers.lgo.benchmark_figures import benchmarks_figure
from papers.lgo.classical import TwoPhase
from papers.lgo.experiments import benchmarks
from papers.lgo.model import DNet, save_dnet
from papers.lgo.optimizer import as_cube
from papers.lgo.policy import LearnedPolicy
from papers.lgo.problems import benchmark_problem

PARAMS = yaml.safe_load((optimizer.WEIGHTS.parent / "params.yaml").read_text())["benchmarks"]
CLASSICAL = PARAMS["classical"]


@pytest.fixture(autouse=True)
def untrained(tmp_path, monkeypatch):
    """Initial weights in the place of the trained ones."""
    save_dnet(tmp_path / "dnet.safetensors", DNet(4))
    LearnedPolicy(initial=10).save(tmp_path / "policy.safetensors")
    monkeypatch.setattr(optimizer, "WEIGHTS", tmp_path)
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def rows_of(tmp_path, **changes):
    params = PARAMS | {"replicates": 4, "starts": {5: 2}} | changes
    params["curves"] = PARAMS["curves"] | {"block": 2}
    write_rows(tmp_path / "benchmarks.csv", benchmarks.run(params, tmp_path / "cache"))
    return read_rows(tmp_path / "benchmarks.csv")


# --- problems ---


@pytest.mark.parametrize(("name", "dims"), PARAMS["problems"].items())
def test_the_optimum_is_in_the_inner_half_and_every_start_has_its_own(name, dims):
    dim = min(dims)
    function = benchmark_problem(name, dim, [3, 4])
    optima = function.optimizers[:, :1]
    assert optima.shape == (2, 1, dim)
    torch.testing.assert_close(
        function(optima)[:, 0], torch.full((2,), function.optimal_value, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )
    if name != "schwefel":
        lower, upper = function.bounds
        assert (((optima - lower) / (upper - lower) - 0.5).abs() <= 0.25).all()
    points = function.bounds[0] + (function.bounds[1] - function.bounds[0]) * torch.rand(
        2, 50, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert (function(points) >= function.optimal_value).all()
    same = points[:1].expand(2, -1, -1)
    assert not torch.equal(*function(same))
    torch.testing.assert_close(benchmark_problem(name, dim, [4]).fold(0)(points[1]), function(points)[1])


def test_all_functions_of_the_specification_are_among_the_problems():
    assert set(PARAMS["problems"]) == set(FUNCTIONS) - {"alpine1", "rosenbrock", "michalewicz"}


# --- the classical methods ---


def two_basins(X):
    """Minima near (1, 0) and, lower, near (-1, 0)."""
    return (X[:, 0] ** 2 - 1).square() + 0.3 * X[:, 0] + X[:, 1] ** 2


@pytest.mark.parametrize("method", CLASSICAL)
def test_from_the_upper_minimum_it_comes_to_the_lower_and_from_there_nowhere(method):
    cube = as_cube(Objective(two_basins, (-2, 2), dim=2))
    two_phase = TwoPhase(**CLASSICAL[method])
    upper = classical._minimum(cube, cube.bounds[1] * torch.tensor([0.73, 0.6]))
    assert upper.value == pytest.approx(0.2941, abs=1e-4)
    lower = two_phase._lower_minimum(cube, upper)
    assert lower.value == pytest.approx(-0.3054, abs=1e-4)
    assert two_phase._lower_minimum(cube, lower) is None


@pytest.mark.parametrize("method", CLASSICAL)
def test_the_whole_budget_is_spent_on_gradients(method):
    result = minimize(two_basins, (-2, 2), TwoPhase(**CLASSICAL[method]), 250, 2, dim=2)
    assert result.nfev == result.njev == 250
    assert result.status == 1


def test_units_of_the_variables_do_not_matter():
    plain = minimize(two_basins, (-2, 2), TwoPhase(**CLASSICAL["ge_qin"]), 120, 0, dim=2)
    stretched = Objective(lambda X: two_basins(X / torch.tensor([8.0, 0.5])), [[-16.0, -1.0], [16.0, 1.0]])
    again = TwoPhase(**CLASSICAL["ge_qin"]).minimize(stretched, 120, 0)
    assert again.fun == pytest.approx(plain.fun, rel=1e-9)


def test_an_unknown_auxiliary_function_is_refused():
    with pytest.raises(ValueError, match="ge_qin"):
        TwoPhase("filled", [1.0])


# --- the experiment ---


def test_every_method_has_a_regret_for_every_start(tmp_path):
    rows = rows_of(tmp_path, problems={"branin": [2], "rastrigin": [5]}, evaluations=12, replicates=2)
    regrets = rows[rows["metric"] == "regret"]
    methods = {*PARAMS["lgo"], *PARAMS["classical"], *PARAMS["methods"]}
    assert set(regrets["method"]) == methods
    assert (regrets.groupby(["method", "problem"]).size() == 2).all()
    assert set(zip(regrets["d"], regrets["evaluations"], strict=True)) == {(2, 24), (5, 60)}
    assert ((regrets["value"] == 0) | (regrets["value"] > benchmarks.SOLVED)).all()
    assert set(rows["metric"]) == {"regret", "solved"}
    assert len(benchmarks_figure(rows).axes) == 2


def test_curves_are_the_shares_of_solved_runs(tmp_path):
    few = {"lgo": {"BFGS, fixed": {}}, "classical": {}, "methods": {"lbfgs": {"method": "lbfgs"}}}
    rows = rows_of(tmp_path, problems={"branin": [2], "rastrigin": [2]}, evaluations=60, **few)
    solved = rows[rows["metric"] == "regret"].assign(value=lambda r: 100.0 * (r["value"] == 0))
    at_end = solved.groupby(["method", solved["replicate"] // 2])["value"].mean()
    curves = rows[(rows["metric"] == "solved") & (rows["evaluations"] == 200 * 2)]
    found = curves.set_index(["method", "replicate"])["value"]
    pd.testing.assert_series_equal(found.sort_index(), at_end.sort_index(), check_names=False)
    assert found["lbfgs"].mean() >= 50  # Branin has three minima of the same value
    by_level = rows[rows["metric"] == "solved"].sort_values("evaluations").groupby(["method", "replicate"])["value"]
    assert by_level.is_monotonic_increasing.all()


def test_fewer_starts_are_the_first_ones(tmp_path):
    few = {"lgo": {}, "classical": {}, "methods": {"lbfgs": {"method": "lbfgs"}}, "evaluations": 10}
    rows = rows_of(tmp_path, problems={"ackley": [2]}, **few)
    fewer = rows_of(tmp_path / "fewer", problems={"ackley": [2]}, starts={2: 2}, **few)
    rows, fewer = (table[table["metric"] == "regret"].reset_index(drop=True) for table in (rows, fewer))
    pd.testing.assert_frame_equal(rows[rows["replicate"] < 2].reset_index(drop=True), fewer)
