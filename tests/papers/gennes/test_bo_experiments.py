"""Bayesian optimization with GENNES: the loop, the digits objective, and the experiments in small."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from botorch.exceptions import ModelFittingError

from common.parallel import TaskError
from common.reporting.rows import read_rows, write_rows
from papers.gennes import bayesopt
from papers.gennes.acquisition import ACQUISITIONS
from papers.gennes.bayesopt import FitFailed, bayes_opt, fitted_gp, initial_design
from papers.gennes.digits import digits_error
from papers.gennes.experiments import bo_alpine, bo_digits, figure1
from papers.gennes.experiments.bo import maximizer
from papers.gennes.problems import fold_seeds

SMALL = {
    "seed": 3, "replicates": 2, "initial": 6, "iterations": 2, "acquisition": "ei", "queries": [0, 20, 40],
    "maximizers": {
        "gennes": {"method": "gennes", "budget": 20, "population": 10, "alpha": 0.99, "width": 8, "depth": 2},
        "lbfgs": {"method": "repeated_lbfgs", "starts": 1},
    },
}  # fmt: skip
ALPINE = {**SMALL, "dim": 2, "shift": 0.5}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def run(experiment, params, folder):
    """Return the rows as the report reads them."""
    write_rows(folder / "rows.csv", experiment.run(params, folder / "cache"))
    return read_rows(folder / "rows.csv")


def bowl(U):
    return (U - 0.3).square().sum(dim=1)


def test_the_loop_comes_closer_than_the_design():
    run = bayes_opt(bowl, initial_design(0, 6, 2), 5, 1, "logei", maximizer("optimize_acqf", budget=150))
    assert run.X.shape == (11, 2)
    assert torch.equal(run.X, run.X.clamp(0, 1))
    assert torch.equal(run.y, bowl(run.X))
    assert run.queries == [150] * 5
    assert run.y[6:].min() < 0.1 * run.y[:6].min()


@pytest.mark.parametrize("method", SMALL["maximizers"])
def test_the_loop_says_how_often_it_asked_the_acquisition(monkeypatch, method):
    asked = []
    honest = ACQUISITIONS["ei"]

    def counted(model, best_f):
        acquisition = honest(model, best_f)
        acquisition.register_forward_pre_hook(lambda module, inputs: asked.append((best_f.item(), len(inputs[0]))))
        return acquisition

    monkeypatch.setitem(ACQUISITIONS, "ei", counted)
    run = bayes_opt(bowl, initial_design(0, 6, 2), 3, 1, "ei", maximizer(**SMALL["maximizers"][method]))
    assert len(run.queries) == 3
    assert sum(rows for _, rows in asked) == sum(run.queries)
    assert min(run.queries) > 0


def test_a_fit_is_repeatable_and_draws_from_no_global_generator():
    X = initial_design(1, 8, 3)
    state = torch.get_rng_state()
    first, second = (fitted_gp(X, bowl(X), 5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.covar_module.base_kernel.lengthscale, second.covar_module.base_kernel.lengthscale)
    assert first.posterior(X).mean.squeeze(1).argmax() == bowl(X).argmin()


def test_digits_are_deterministic_by_seed():
    points = torch.tensor([[0.6, 0.2, 0.2, 0.0], [0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    values = digits_error(0, 0.15)(points)
    assert torch.equal(digits_error(0, 0.15)(points), values)
    assert not torch.equal(digits_error(1, 0.15)(points), values)
    assert values[0] < 0.15 < values[1]


@pytest.mark.parametrize(("train_share", "images"), [(0.15, 1528), (0.85, 270)])
def test_both_readings_of_the_split_leave_the_rest_for_the_test(train_share, images):
    (value,) = digits_error(0, train_share)(torch.tensor([[0.6, 0.2, 0.2, 0.0]], dtype=torch.float64))
    assert 0 < value * images == pytest.approx(round(float(value) * images), abs=1e-9)


@pytest.mark.parametrize(
    ("experiment", "params"),
    [(bo_alpine, ALPINE), (bo_digits, {**SMALL, "readings": {"train 0.15": 0.15}})],
    ids=["alpine", "digits"],
)
def test_rows_of_an_experiment(tmp_path, experiment, params):
    rows = run(experiment, params, tmp_path)
    best = rows[rows["metric"] == "best"].pivot(index="evaluations", columns=["method", "replicate"], values="value")
    assert best.index.tolist() == [6, 7, 8]
    assert (best.diff().dropna() <= 0).all(axis=None)
    np.testing.assert_array_equal(best.loc[6, "gennes"], best.loc[6, "lbfgs"])
    queries = rows[rows["metric"] == "queries"].set_index(["method", "replicate"])["value"]
    assert (queries["gennes"] == 40).all()
    at = rows[rows["metric"] == "best_by_queries"].pivot(
        index="evaluations", columns=["method", "replicate"], values="value"
    )
    np.testing.assert_array_equal(at["gennes"], best["gennes"])


def test_a_fold_alone_is_the_fold_among_others(tmp_path):
    both = run(bo_alpine, ALPINE, tmp_path / "both")
    alone = run(bo_alpine, {**ALPINE, "replicates": 1}, tmp_path / "alone")
    pd.testing.assert_frame_equal(both[both["replicate"] == 0].reset_index(drop=True), alone)


def test_a_fit_that_fails_names_its_fold_and_leaves_the_others(tmp_path, monkeypatch):
    broken = fold_seeds(ALPINE["seed"], 2)[0]
    design = initial_design(broken, 6, 2)
    honest = bayesopt.fitted_gp

    def failing(X, y, seed, previous=None):
        if torch.equal(X[:6], design):
            raise ModelFittingError("all attempts failed")
        return honest(X, y, seed, previous)

    monkeypatch.setattr(bayesopt, "fitted_gp", failing)
    with pytest.raises(TaskError, match="gennes-0") as caught:
        bo_alpine.run(ALPINE, tmp_path)
    assert isinstance(caught.value.__cause__, FitFailed)
    assert {path.stem for path in tmp_path.glob("*.json")} == {"gennes-1", "lbfgs-1"}


def test_figure_1_has_populations_and_their_distribution(tmp_path):
    params = {"seed": 0, "replicates": 3, "population": 12, "sigma": 0.25, "iterations": [0, 20]}
    rows = run(figure1, params, tmp_path)
    points = rows[rows["method"] == "population"]
    assert points.groupby(["evaluations", "metric"]).size().tolist() == [12] * 4
    described = rows[rows["method"] == "cmaes"].pivot(
        index=["metric", "replicate"], columns="evaluations", values="value"
    )
    np.testing.assert_allclose(described[0].loc["anisotropy"], 1, rtol=1e-4)
    np.testing.assert_allclose(described[0].loc["spread"], 0.25, rtol=1e-4)
    assert (described[240].loc["spread"] < 0.25).all()
