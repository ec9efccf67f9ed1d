"""GradPIEPlus, and the experiments that compare it; what every optimizer keeps is in tests/common/optimizers."""

from __future__ import annotations

import copy
import inspect
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common.functions import make_function
from common.objective import Objective
from common.optimizers import minimize
from common.params import read_section
from common.reporting.rows import read_rows, write_rows
from papers.gradpie.experiments import plus_cnon, plus_opamp, plus_owms, plus_tuning
from papers.gradpie.experiments.peers import one_plus_one
from papers.gradpie.experiments.plus import PLUS, query_rows
from papers.gradpie.experiments.turbo import turbo
from papers.gradpie.plus import GradPIEPlus
from papers.gradpie.simulators.ngspice import INSTALL, available
from papers.gradpie.simulators.oscillators import deviation, sample_oscillators, sample_target
from papers.gradpie.slopes import ResidualNetworks, Slopes

SMALL = {"hidden": (8,), "epochs": 2}


@pytest.mark.parametrize("budget", [1, 3, 30, 101])
def test_the_budget_is_spent_exactly_and_the_answer_was_measured(budget):
    function, sizes = make_function("levy", 3), []

    def counted(X):
        sizes.append(len(X))
        return function(X)

    result = minimize(counted, function.bounds, GradPIEPlus(**SMALL), budget, 0)
    assert sum(sizes) == result.nfev == budget
    assert float(function(torch.from_numpy(result.x)[None])) == result.fun


def test_a_run_is_a_function_of_its_seed():
    function = make_function("levy", 2)
    one, same, other = (minimize(function, function.bounds, GradPIEPlus(**SMALL), 60, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.history, same.history)
    assert not np.array_equal(one.x, other.x)


def test_slopes_are_those_of_a_linear_function_and_what_is_unknown_shrinks():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    slopes, unknown = Slopes(6, 3, 20), []
    for count in range(9):
        found = slopes.jacobian(torch.full((count,), 1e-4, dtype=torch.float64), generator)
        unknown.append(found.unknown)
        step = torch.randn(6, generator=generator, dtype=torch.float64)
        slopes.add(step, step @ wanted)
    assert unknown[0] == 1
    assert unknown[3] < 1
    assert unknown[6] < 0.01
    torch.testing.assert_close(found.mean, wanted, rtol=1e-3, atol=1e-3)
    # what is drawn lies where nothing was measured
    few = Slopes(6, 1, 20)
    few.add(torch.eye(6, dtype=torch.float64)[0], torch.ones(1, dtype=torch.float64))
    draw = few.jacobian(torch.full((1,), 1e-4, dtype=torch.float64), generator).deviation
    assert draw[0].abs() < 1e-2 < draw[1:].abs().max()


def test_the_oldest_slope_makes_room():
    slopes, generator = Slopes(2, 1, 2), torch.Generator().manual_seed(0)
    one, other = torch.eye(2, dtype=torch.float64)
    for step, change in ((one, 7.0), (one, 1.0), (other, 2.0)):
        slopes.add(step, torch.tensor([change], dtype=torch.float64))
    found = slopes.jacobian(torch.full((2,), 1e-5, dtype=torch.float64), generator)
    torch.testing.assert_close(found.mean.flatten(), torch.tensor([1.0, 2.0], dtype=torch.float64))


def test_networks_learn_what_is_left_and_are_believed_as_far_as_they_were_right():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    y = (x.square().sum(1) + 5)[:, None]  # the constant is never learnt
    networks = ResidualNetworks(2, 1, [1, 2], (32,), neighbours=5, epochs=300, lr=1e-2)
    networks.fit(x, y, x[0])
    assert networks.trust == 0
    for k in range(1, 20):
        with torch.no_grad():
            predicted = networks.change(x[k][None], member=0)[0]
        networks.compare(predicted, y[k] - y[0])
    assert 0.7 < networks.trust <= 1
    for _ in range(40):
        networks.compare(predicted, -predicted)
    assert networks.trust == 0


def test_linear_outputs_are_solved_in_little_more_than_d_queries():
    generator = torch.Generator().manual_seed(3)
    dim = 8
    matrix = torch.eye(dim, dtype=torch.float64) + 0.3 * torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    target = torch.rand(dim, generator=generator, dtype=torch.float64) @ matrix

    def loss(outputs):
        return (outputs - target).abs().mean(1)

    objective = Objective(lambda X: X @ matrix, (-1, 2), dim=dim, scalarize=loss)
    x0 = torch.full((dim,), 0.5, dtype=torch.float64)
    result = minimize(objective, method=GradPIEPlus(x0=x0, **SMALL), budget=4 * dim, rng=0)
    assert result.fun < 0.02 * float(loss((x0 @ matrix)[None]))


def test_outputs_known_one_by_one_save_queries_on_the_oscillators():
    network, target = sample_oscillators(0, 6), sample_target(0, 6)

    def loss(outputs):
        return deviation(outputs, target)

    vector = Objective(network, (-1, 2), dim=6, scalarize=loss)
    known = minimize(vector, method=GradPIEPlus(initial=4, **SMALL), budget=40, rng=0)
    value = minimize(lambda X: loss(network(X)), (-1, 2), GradPIEPlus(initial=4, **SMALL), 40, 0, dim=6)
    assert known.fun < 0.5 * value.fun
    by_hand = GradPIEPlus(scalarize=loss).start(vector.bounds, 40, 0)
    with pytest.raises(ValueError, match="outputs"):
        by_hand.tell(by_hand.ask(), torch.zeros(len(by_hand.ask())))


def test_outputs_that_are_not_finite_never_become_data():
    def loss(outputs):
        return outputs.nan_to_num(9.0).square().sum(1)

    run = GradPIEPlus(initial=4, scalarize=loss, **SMALL).start([[-1.0, -1.0], [1.0, 1.0]], 40, rng=0)
    while not run.stop():
        X = run.ask()
        outputs = torch.where(X[:, :1] > 0.4, torch.nan, X - 0.6)
        run.tell(X, loss(outputs), outputs=outputs)
        if run.inside:
            known = len(run.slopes)
            assert torch.isfinite(run.y[:known]).all()
            assert torch.isfinite(run.slopes.slopes[:known]).all()
            assert run.centre[0] <= 0.7  # in units of the box


def test_angles_are_not_clipped():
    def far(X):
        return 1 - torch.cos(X - 0.1).mean(1)

    x0 = torch.full((5,), 6.0, dtype=torch.float64)  # the way is across the end of the turn
    found = minimize(far, (0, 2 * math.pi), GradPIEPlus(x0=x0, periodic=True, radius=0.02, **SMALL), 80, 0, dim=5)
    assert found.fun < 0.05 * float(far(x0[None]))
    clipped = minimize(far, (0, 2 * math.pi), GradPIEPlus(x0=x0, radius=0.02, **SMALL), 80, 0, dim=5)
    assert found.fun < clipped.fun


def test_in_hundreds_of_variables_it_is_ahead_of_an_evolution_strategy():
    def bowl(X):
        return (X - 0.3).square().mean(-1)

    ours, theirs = [], []
    for seed in range(3):
        x0 = 2 * torch.rand(300, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
        ours.append(minimize(bowl, (-1, 1), GradPIEPlus(x0=x0, members=0), 150, seed, dim=300).fun)
        theirs.append(float(one_plus_one(bowl, x0[None], [seed], 150, sigma=0.05).min()))
    assert np.mean(ours) < np.mean(theirs)


def test_a_tiny_region_is_left_for_the_next():
    run = GradPIEPlus(initial=3, members=0).start([[-1.0], [1.0]], None, rng=0)
    for _ in range(80):
        run.tell(run.ask(), run.ask().abs().sum(1))
    assert run.regions > 1


@pytest.mark.parametrize(
    "settings",
    [
        {"initial": 0}, {"radius": 0.0}, {"exploration": -1.0}, {"curvature": 0.0}, {"window": 1}, {"members": -1},
        {"members": 0, "linear": False}, {"neighbours": 0}, {"epochs": -1}, {"lr": 0.0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_at_once(settings):
    with pytest.raises(ValueError):
        GradPIEPlus(**settings)


def test_a_start_must_fit_the_box():
    with pytest.raises(ValueError, match="x0"):
        GradPIEPlus(x0=torch.zeros(2)).start([[0.0], [1.0]], 10, rng=0)


def test_turbo_makes_exactly_its_queries_and_beats_chance_on_a_bowl():
    counted = []

    def bowl(x):
        counted.append(len(x))
        assert ((x >= 0) & (x <= 1)).all()
        return (x - 0.7).square().sum(1)

    first = torch.rand(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = turbo(bowl, first, 0, 40, bounded=True, refit=10, candidates=100)
    assert len(losses) == sum(counted) == 40
    assert losses.min() < 0.3 * losses[:8].min()


def test_rows_of_queries():
    losses = {
        (0, PLUS): torch.tensor([4.0, 1.0, 3.0, 0.5]),
        (0, "base"): torch.tensor([4.0, 3.0, 2.0, 1.0]),
        (0, "random"): torch.tensor([4.0, 4.0, 4.0, 4.0]),
        (0, "short"): torch.tensor([1.0, 0.9]),
    }
    rows = pd.DataFrame(query_rows(losses, [2, 4], {"base": "base", "low": 0.7}, [2, 4], problem="p", d=1))

    def found(metric, target="base", budget=4):
        chosen = rows[(rows["experiment"] == f"target {target}") & (rows["evaluations"] == budget)]
        chosen = chosen[chosen["metric"] == metric]
        return dict(zip(chosen["method"], chosen["value"], strict=True))

    assert found("queries") == {PLUS: 2.0, "base": 4.0, "random": 5.0}
    assert found("reached") == {PLUS: 1.0, "base": 1.0, "random": 0.0}
    assert found("log ratio") == {PLUS: round(math.log(2 / 4), 6)}
    assert found("queries", "low") == {PLUS: 4.0, "base": 5.0, "random": 5.0}
    # within two queries the base model has another best value, and the short search counts too
    assert found("queries", budget=2) == {PLUS: 2.0, "base": 2.0, "random": 3.0, "short": 1.0}
    assert found("log ratio", budget=2) == {PLUS: round(math.log(2), 6)}
    best = rows[rows["metric"] == "best"]
    assert best[best["method"] == PLUS]["value"].tolist() == [1.0, 0.5]
    assert best[best["method"] == "short"]["value"].tolist() == [0.9]


def _online_rows(*values):
    key = {"experiment": "queries", "problem": "owms", "d": 16, "method": "gradpie", "replicate": 0, "metric": "best"}
    return [{**key, "evaluations": count, "value": value} for count, value in zip((2, 5, 12), values, strict=True)]


def test_what_is_known_at_some_queries_is_the_most_that_can_be_said():
    rows = pd.DataFrame(_online_rows(0.3, 0.2, 0.1))
    other = rows.assign(replicate=1)
    found = plus_owms.known_losses(pd.concat([rows, other]), ["gradpie", "base"], 1)
    assert list(found) == [(0, "gradpie")]
    assert found[0, "gradpie"].tolist() == [0.3] * 2 + [0.2] * 3 + [0.1] * 7


TINY = {"hidden": [8], "epochs": 1}
FULL = Path("papers/gradpie/params.yaml")


def _tiny(name, **changed):
    params = copy.deepcopy(read_section(FULL, name))
    params |= {"replicates": 1, "queries": 12, "initial": 6, "levels": [8, 12], "budgets": [8, 12]}
    params["short"] = dict.fromkeys(params["short"], 8)
    small = {"plus": TINY, "bayopt": {"initial": 6, "maxiter": 2}, "turbo": {"initial": 6, "candidates": 20}}
    for method, settings in params["searches"].items():
        params["searches"][method] = {**settings, **small.get(settings["kind"], {})}
        if settings["kind"] == "descent" and not settings.get("linear"):
            params["searches"][method]["learning"] = {**settings["learning"], **TINY}
    return params | changed


@pytest.mark.parametrize(
    ("experiment", "params"),
    [
        (plus_cnon, _tiny("plus_cnon", dim=4, replicates=2, few={"turbo": 1, "bayopt": 1})),
        (plus_opamp, _tiny("plus_opamp", amplifier={"models": "level1", "load": 1.0})),
        (plus_owms, _tiny("plus_owms", system={"pixels": 4, "spacing": 1e-4})),
    ],
    ids=["cnon", "opamp", "owms"],
)
def test_every_method_runs_with_equal_queries(experiment, params, tmp_path, monkeypatch):
    if experiment is plus_opamp and not available():
        pytest.skip(f"ngspice is not installed: {INSTALL}")
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")
    write_rows(tmp_path / "known.csv", _online_rows(0.3, 0.2, 0.1))
    monkeypatch.setattr(plus_owms, "RESULTS", tmp_path / "known.csv")
    rows = pd.DataFrame(experiment.run(params, tmp_path / "tasks"))
    best = rows[rows["metric"] == "best"]
    known = {"gradpie"} if experiment is plus_owms else set()
    assert set(best["method"]) == set(params["searches"]) | known
    assert np.isfinite(rows["value"]).all()
    for budget in (8, 12):
        counted = rows[(rows["metric"] == "queries") & (rows["evaluations"] == budget)]
        assert counted["value"].between(1, budget + 1).all()
        short = set(params["short"]) if budget == 12 else set()
        assert set(counted["method"]) == set(best["method"]) - short
    assert len(best[best["method"] == "turbo"]) == 1
    assert "log ratio" in set(rows["metric"])


def _trial():
    params = copy.deepcopy(read_section(FULL, "plus_tuning"))
    small = {"queries": 8, "levels": [4, 8]}
    params["problems"] = {name: settings | small for name, settings in params["problems"].items()}
    params["problems"]["cnon"]["dim"] = 4
    params["problems"]["opamp"]["amplifier"] = {"models": "level1", "load": 1.0}
    params["problems"]["owms"]["system"] = {"pixels": 4, "spacing": 1e-4}
    return params | {"replicates": 1}


def test_the_trial_ranks_all_variants_from_the_same_starts(tmp_path, monkeypatch):
    if not available():
        pytest.skip(f"ngspice is not installed: {INSTALL}")
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")
    params = _trial()
    write_rows(tmp_path / "rows.csv", plus_tuning.run(params, tmp_path / "tasks"))
    rows = read_rows(tmp_path / "rows.csv")
    ranks = rows[rows["metric"] == "rank"]
    assert set(ranks["problem"]) == set(params["problems"])
    assert (ranks.groupby(["problem", "evaluations"])["value"].sum() == 10).all()
    assert plus_tuning.chosen_variant(rows) in params["variants"]


def test_the_first_variant_is_chosen_among_equals_and_problems_count_alike():
    key = {"experiment": "queries", "d": 1, "evaluations": 8, "metric": "rank"}
    values = {"many": [(1, 2), (1, 2), (1, 2)], "one": [(2, 1)]}
    rows = [
        {**key, "problem": problem, "replicate": replicate, "method": method, "value": rank}
        for problem, starts in values.items()
        for replicate, ranks in enumerate(starts)
        for method, rank in zip(("simple", "other"), ranks, strict=True)
    ]
    assert plus_tuning.chosen_variant(pd.DataFrame(rows)) == "simple"
    assert plus_tuning.chosen_variant(pd.DataFrame(rows[6:])) == "other"


def test_the_defaults_are_those_that_the_trial_chose():
    chosen = plus_tuning.chosen_variant(read_rows("papers/gradpie/results/plus_tuning.csv"))
    defaults = {name: value.default for name, value in inspect.signature(GradPIEPlus).parameters.items()}
    assert read_section(FULL, "plus_tuning")["variants"][chosen].items() <= defaults.items()


def test_no_table_uses_the_problems_of_the_trial():
    trial = read_section(FULL, "plus_tuning")
    for name in trial["problems"]:
        assert trial["seed"] != read_section(FULL, f"plus_{name}")["seed"]
    for problem, setting in (("opamp", "amplifier"), ("owms", "system")):
        assert trial["problems"][problem][setting] != read_section(FULL, f"plus_{problem}")[setting]
