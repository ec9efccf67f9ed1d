"""Maximizers of acquisitions compared on identical models: the models, the gap, and the experiments in small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.reporting.rows import read_rows, write_rows
from papers.gennes.acquisition import ACQUISITIONS, Maximum
from papers.gennes.acquisition_figure import acquisition_figure
from papers.gennes.experiments import bo_snapshots, bo_tuning
from papers.gennes.experiments.bo_snapshots import compared, fitted, gap_curves, rugged

SMALL_NETWORK = {"width": 8, "depth": 2}
MAXIMIZERS = {
    "gennes": {"method": "gennes", "population": 10, **SMALL_NETWORK},
    "gennes_sigma": {"method": "gennes_sigma", **SMALL_NETWORK},
    "gennes_hop": {"method": "gennes_hop", **SMALL_NETWORK},
    "lbfgs": {"method": "lbfgs"},
    "optimize_acqf": {"method": "optimize_acqf", "restarts": 2, "raw_samples": 20},
    "cmaes": {"method": "cmaes"},
    "random": {"method": "random"},
}
FITTED = {
    "initial": {2: 6, 4: 6}, "steps": [0, 1], "queries": 10, "shift": 0.5, "train_share": 0.15,
}  # fmt: skip
SMALL = {
    "seed": 5, "replicates": 2, "dims": [2], "fitted": FITTED,
    "rugged": {"length_scale": 0.05, "observations": {2: 12}}, "acquisitions": ["ei", "logei"], "budget": 40,
    "queries": [20, 40], "acquisition_queries": [40], "milliseconds": [1, 10**9],
    "maximizers": {name: MAXIMIZERS[name] for name in ("gennes", "lbfgs", "random")},
}  # fmt: skip
TUNING = {
    "seed": 5, "replicates": 1, "length_scales": [0.2], "observations": {2: 8}, "dims": [2], "acquisitions": ["logei"],
    "budget": 40, "queries": [20, 40], "population": [10], "lr": [1e-9, 1e-2], "alpha": [0.9, "auto"],
    "network": SMALL_NETWORK, "rivals": {"lbfgs": {"method": "lbfgs"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def maximum(*improvements):
    """Return what a maximizer found that had these values after 10, 20, ... queries and after as many seconds."""
    history = np.array([(10.0 * (k + 1), value) for k, value in enumerate(improvements)])
    return Maximum(torch.zeros(1), history[-1, 1], 10 * len(history), history, history)


def gaps(found, reference):
    curves = gap_curves(found, reference, [5, 10, 20, 100], [10_000])
    return {name: [gap for _, gap in curve["gap"]] for name, curve in curves.items()}


def test_the_gap():
    found = {"a": maximum(1.0, 3.0), "b": maximum(-1e300, 2.0, 5.0)}
    expected = {"a": [1, 1, 0.5, 0.5], "b": [1, 1, 0.75, 0]}
    assert gaps(found, 1.0) == expected
    stretched = {"a": maximum(-7.0, -3.0), "b": maximum(-1e300, -5.0, 1.0)}
    assert gaps(stretched, -7.0) == expected
    by_time = gap_curves(found, 1.0, [], [9_999, 10_000, 20_000])["a"]["gap_ms"]
    assert by_time == [(9_999, 1), (10_000, 1), (20_000, 0.5)]


def test_the_gap_of_those_that_found_nothing():
    found = {"a": maximum(1.0), "b": maximum(0.5)}
    assert gaps(found, 1.0) == {"a": [0] * 4, "b": [0] * 4}


def test_all_maximizers_get_one_model_and_no_more_than_the_budget():
    model = rugged(2, 0, **SMALL["rugged"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    posterior = model.posterior

    def counted(X, **options):
        seen.append(X.shape[0] if X.ndim == 3 else 1)
        return posterior(X, **options)

    model.posterior = counted
    found, reference = compared(model, "logei", MAXIMIZERS, 40, 1)
    assert list(found) == list(MAXIMIZERS)
    assert all(one.queries <= 40 for one in found.values())
    assert sum(seen) == sum(one.queries for one in found.values()) + bo_snapshots.REFERENCE
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    value = ACQUISITIONS["logei"](model, model.train_targets.max())
    for one in found.values():
        assert value(one.x.view(1, 1, -1)).item() == pytest.approx(one.value, rel=1e-6)
    again, same = compared(model, "logei", {"random": MAXIMIZERS["random"]}, 40, 1)
    assert (again["random"].value, same) == (found["random"].value, reference)


def maxima_on_a_grid(model, side=60):
    """Return how many points of a grid have a higher LogEI than their eight neighbours."""
    unit = torch.linspace(0, 1, side, dtype=torch.float64)
    with torch.no_grad():
        values = ACQUISITIONS["logei"](model, model.train_targets.max())(torch.cartesian_prod(unit, unit).unsqueeze(1))
    grid = values.view(1, 1, side, side)
    return int((torch.nn.functional.max_pool2d(grid, 3, stride=1, padding=1) == grid).sum())


def test_rugged_processes_have_many_maxima():
    short, long = (
        [maxima_on_a_grid(rugged(2, seed, length_scale=scale, observations={2: 20})) for seed in range(3)]
        for scale in (0.05, 2.0)
    )
    assert min(short) >= 10
    assert max(long) <= 6  # the corners of the square, and one


def test_a_rugged_process_is_a_draw_of_its_own_prior():
    draws = torch.stack(
        [rugged(2, seed, length_scale=0.3, observations={2: 4}).train_targets.flatten() for seed in range(60)]
    )
    assert draws.mean().item() == pytest.approx(0, abs=0.3)
    assert draws.std().item() == pytest.approx(1, abs=0.2)
    model = rugged(2, 3, length_scale=0.3, observations={2: 8})
    known = model.posterior(model.train_inputs[0])
    torch.testing.assert_close(known.mean.squeeze(1), model.train_targets, atol=0.02, rtol=0)
    far = model.posterior(torch.full((1, 2), 100.0, dtype=torch.float64))
    assert far.mean.item() == pytest.approx(0, abs=1e-6)
    assert far.variance.item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("dim", [2, 4], ids=["Alpine1", "digits"])
def test_a_fitted_process_is_that_of_its_seed(dim):
    first, second = (fitted(dim, 1, **FITTED) for _ in range(2))
    assert first.train_inputs[0].shape[1] == dim
    assert torch.equal(first.train_targets, second.train_targets)
    assert torch.equal(first.covar_module.base_kernel.lengthscale, second.covar_module.base_kernel.lengthscale)


def test_fitted_processes_differ_in_their_number_of_steps():
    assert {len(fitted(2, seed, **FITTED).train_targets) for seed in range(4)} == {6, 7}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        write_rows(folder / "rows.csv", bo_snapshots.run(SMALL, folder / "cache"))
        write_rows(folder / "alone.csv", bo_snapshots.run({**SMALL, "replicates": 1}, folder / "alone"))
    return read_rows(folder / "rows.csv"), read_rows(folder / "alone.csv")


def test_rows(rows):
    table, alone = rows
    assert table["value"].between(0, 1).all()
    views = table.groupby(["metric", "problem", "d", "evaluations"]).size()
    both_kinds = 2 * len(SMALL["maximizers"]) * SMALL["replicates"]
    assert views.to_dict() == {
        ("gap", "all", 2, 20): both_kinds, ("gap", "all", 2, 40): both_kinds,
        ("gap", "ei", 0, 40): both_kinds, ("gap", "logei", 0, 40): both_kinds,
        ("gap_ms", "all", 0, 1): both_kinds, ("gap_ms", "all", 0, 10**9): both_kinds,
    }  # fmt: skip

    def view(metric, problem, evaluations):
        chosen = table[(table[["metric", "problem", "evaluations"]] == [metric, problem, evaluations]).all(axis=1)]
        return chosen.set_index(["experiment", "method", "replicate"])["value"].sort_index()

    early, late = (view("gap", "all", queries) for queries in SMALL["queries"])
    ei, logei = (view("gap", acquisition, 40) for acquisition in SMALL["acquisitions"])
    assert (early >= late).all()
    np.testing.assert_allclose((ei + logei) / 2, late, atol=2e-3)
    np.testing.assert_array_equal(view("gap_ms", "all", 10**9), late)
    assert (ei.groupby(["experiment", "replicate"]).min() == 0).all()
    untimed = table[(table["metric"] == "gap") & (table["replicate"] == 0)].reset_index(drop=True)
    assert untimed.equals(alone[alone["metric"] == "gap"].reset_index(drop=True))


def test_the_figure_shows_every_dimension_the_acquisitions_and_the_time(rows):
    figure = acquisition_figure(rows[0])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [
        f"{kind}, {view}" for kind in ("fitted", "many peaks") for view in ("d = 2", "all d", "all d, at equal time")
    ]


def test_the_tuning_chooses_a_rate_that_learns(tmp_path):
    write_rows(tmp_path / "rows.csv", bo_tuning.run(TUNING, tmp_path / "cache"))
    table = read_rows(tmp_path / "rows.csv")
    assert set(table["method"]) == {f"N=10 lr={lr} alpha={a}" for lr in ("1e-09", "0.01") for a in ("0.9", "auto")}
    assert set(table["evaluations"]) == {20, 40}
    assert bo_tuning.best_setting(table) in set(table["method"])
    worse = table.assign(value=table["value"] + (table["method"] != "N=10 lr=0.01 alpha=0.9"))
    assert bo_tuning.best_setting(worse) == "N=10 lr=0.01 alpha=0.9"
