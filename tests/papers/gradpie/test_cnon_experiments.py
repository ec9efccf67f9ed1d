"""The experiments on oscillators: what they measure, with networks small enough for a test."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
import yaml
from experiment_rows import assert_claims_have_rows
from smoke_clone import SMOKE, merged

from common.reporting.claims import load_claims
from common.reporting.rows import read_rows, select_rows, write_rows
from common.training.keys import key_seed
from papers.gradpie import figures
from papers.gradpie.data import OscillatorDataModule
from papers.gradpie.experiments import (
    cnon_ablation,
    cnon_gradients,
    cnon_offline,
    cnon_online,
    descents,
)
from papers.gradpie.experiments.controls import FixedDirection, LinearFit
from papers.gradpie.experiments.descents import Problem
from papers.gradpie.model import Surrogate, gradient_errors, jacobian
from papers.gradpie.offline import fit_surrogate

PAPER = Path(figures.__file__).parent
PARAMS = merged(
    yaml.safe_load((PAPER / "params.yaml").read_text()), yaml.safe_load((SMOKE / "gradpie.yaml").read_text())
)
EXPERIMENTS = [cnon_gradients, cnon_offline, cnon_online, cnon_ablation]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The rows of every experiment at smoke size, as the report reads them."""
    folder = tmp_path_factory.mktemp("results")
    tables = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        for experiment in EXPERIMENTS:
            name = experiment.__name__.rpartition(".")[2]
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                write_rows(folder / f"{name}.csv", experiment.run(PARAMS[name], Path(cache)))
            tables[name] = read_rows(folder / f"{name}.csv")
    return tables


def one(rows, **key):
    """Return the only value that has this key."""
    (value,) = select_rows(rows, key)["value"]
    return value


# --- sources of gradients without a network ---


def normal(*size, key=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(key), dtype=torch.float64)


def test_a_linear_fit_knows_a_linear_black_box_and_forgets_what_left_its_window():
    matrix, offset = normal(2, 3, 4), normal(2, 1, 3)
    source, x = LinearFit(window=6), normal(2, 9, 4, key=1)
    source.add(x[:, :3], normal(2, 3, 3, key=2))  # wrong, and then too old
    source.add(x[:, 3:], x[:, 3:] @ matrix.mT + offset)
    weights = normal(2, 1, 3, key=3)
    torch.testing.assert_close(source.vjp(x[:, :1], weights), weights @ matrix)


def test_a_linear_fit_to_few_points_is_flat_where_nothing_was_tried():
    source, x = LinearFit(window=10), normal(1, 3, 5)
    source.add(x, normal(1, 3, 2, key=1))
    gradient = source.vjp(x[:, :1], normal(1, 1, 2, key=2))[0, 0]
    tried = (x - x.mean(1, keepdim=True))[0]
    unseen = torch.eye(5, dtype=torch.float64) - torch.linalg.pinv(tried) @ tried
    assert gradient.norm() > 1e-3
    torch.testing.assert_close(unseen @ gradient, torch.zeros(5, dtype=torch.float64))


def test_a_fixed_direction_is_a_starts_own_and_never_changes():
    source = FixedDirection([3, 4])
    first = source.vjp(normal(2, 1, 5), normal(2, 1, 2))
    assert torch.equal(first, source.vjp(normal(2, 1, 5, key=1), normal(2, 1, 2, key=1)))
    assert torch.equal(first[1:], FixedDirection([4]).vjp(normal(1, 1, 5), normal(1, 1, 2)))
    assert not torch.equal(first[0], first[1])


# --- problems and rows ---


def test_every_replicate_has_a_network_of_its_own_whatever_their_number():
    one_network, another = Problem.draw(1, 0, 4), Problem.draw(1, 1, 4)
    assert not torch.equal(one_network.oscillators.coupling, another.oscillators.coupling)
    assert not torch.equal(one_network.target, another.target)
    points = one_network.first_queries(one_network.starts(3), 5, 0.1)
    assert torch.equal(points[:2], one_network.first_queries(one_network.starts(2), 5, 0.1))
    assert torch.equal(points[:, :1], one_network.first_queries(one_network.starts(3)))
    assert ((points[:, 0] >= 0) & (points[:, 0] <= 1)).all()
    assert 0.05 < (points[:, 1:] - points[:, :1]).std() < 0.2


def test_rows_by_iteration_and_by_queries_are_the_same_curve():
    curve = normal(11, 4).abs()
    settings = {"initial": 3, "local_samples": 2, "levels": [0, 4, 10, 50], "queries": [2, 3, 9, 16, 33, 36]}
    rows = {
        (row["experiment"], row["evaluations"], row["metric"]): row["value"]
        for row in descents.online_rows(curve, settings)
    }
    steps = {("iterations", t): t for t in (0, 4, 10)} | {("queries", 3): 0, ("queries", 9): 2, ("queries", 16): 4}
    steps["queries", 33] = 10
    assert rows == {
        (*key, metric): pytest.approx(float(value), abs=1e-6)
        for key, step in steps.items()
        for metric, value in (("loss", curve[step].mean()), ("std", curve[step].std()))
    }


# --- the experiments ---


def test_the_exact_gradients_row_is_adam_on_the_deviation(results):
    params = PARAMS["cnon_online"]
    problem = Problem.draw(params["seed"], 1, params["dim"])
    x = problem.first_queries(problem.starts(params["starts"]))[:, 0].requires_grad_()
    adam = torch.optim.Adam([x], params["moves"]["step_size"])
    for _ in range(params["iterations"]):
        adam.zero_grad()
        problem.loss(problem.oscillators(x)).sum().backward()
        adam.step()
    found = problem.loss(problem.oscillators(x)).mean().item()
    rows = results["cnon_online"]
    key = {"experiment": "iterations", "method": "exact", "replicate": 1, "evaluations": 10, "metric": "loss"}
    for p in (0, 1):
        assert one(rows, problem=f"p = {p}", **key) == pytest.approx(found, abs=1e-5)


def test_all_methods_begin_at_the_same_loss(results):
    for name in ("cnon_offline", "cnon_online"):
        rows = results[name]
        starts = rows[rows["experiment"].ne("queries") & rows["evaluations"].eq(0)]
        assert not starts.empty
        assert (starts.groupby(["replicate", "metric"])["value"].nunique() == 1).all()


def test_how_methods_compare_by_hand():
    means = {
        "base": [1.0, 0.9, 0.8, 0.7, 0.6],
        "exact": [1.0, 0.7, 0.4, 0.2, 0.2],
        "gradpie": [1.0, 0.8, 0.6, 0.4, 0.3],
        "base standardised": [1.0, 0.9, 0.7, 0.6, 0.4],
        "slow": [1.0, 1.0, 1.0, 1.0, 1.0],
    }
    settings = {"iterations": 4, "initial": 10, "local_samples": 2, "compared": [2, 4, 9]}
    rows = cnon_online.comparison_rows({name: torch.tensor(curve) for name, curve in means.items()}, settings)
    found = {(row["method"], row["metric"], row["evaluations"]): row["value"] for row in rows}
    expected = {
        ("gradpie", "gap_closed", 2): 0.5, ("gradpie", "gap_closed", 4): 0.75, ("gradpie", "reduction", 4): 0.5,
        ("gradpie", "queries", 4): 16, ("gradpie", "reduction_standardised", 4): 0.25,
        ("slow", "reduction", 4): 0, ("slow", "queries", 4): 22, ("base", "reduction", 4): 0,
        ("base", "gap_closed", 2): 0, ("exact", "gap_closed", 4): 1, ("base standardised", "reduction", 4): 0.25,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert not [key for key in found if key[2] == 9]


def test_jacobians_are_those_of_the_plain_training_loop(results):
    params = PARAMS["cnon_gradients"]
    settings = params["dims"][10]
    network = Problem.draw(params["seed"], 1, 10).seed
    seeds = [key_seed(network, "replicate", 0)]
    box = {name: settings[name] for name in ("samples", "low", "high")}
    for method, k, loss in (("base", 1, "mae"), ("gradpie k=5", 5, "gradpie")):
        data = OscillatorDataModule(network, neighbours=k, **box, **params["data"])
        batches = data.make(10, seeds)
        surrogate = Surrogate(10, 10, seeds, params["model"]["hidden"])
        fit_surrogate(surrogate, batches, settings["epochs"], params["model"]["lr"], loss)
        ((x, exact),) = data.val_dataloader()
        for metric, values in gradient_errors(jacobian(surrogate, x), exact).items():
            found = one(results["cnon_gradients"], d=10, method=method, replicate=1, metric=metric)
            assert found == pytest.approx(float(values.mean()), abs=1e-6)


def test_the_best_k_is_chosen_on_the_other_networks():
    errors = {"base": [0.5, 0.5, 0.5], "gradpie k=1": [0.1, 0.4, 0.4], "gradpie k=2": [0.3, 0.3, 0.3]}
    rows = [
        {"d": 10, "evaluations": 500, "replicate": replicate, "method": method, "metric": metric, "value": value}
        for method, values in errors.items()
        for replicate, error in enumerate(values)
        for metric, value in (("relative_error", error), ("cosine", 1 - error))
    ]
    best = {(row["metric"], row["replicate"]): row["value"] for row in cnon_gradients.best_rows(rows)}
    assert [best["neighbours", replicate] for replicate in range(3)] == [2, 1, 1]
    assert [best["error_reduction", replicate] for replicate in range(3)] == pytest.approx([40, 20, 20])
    assert [best["cosine_gain", replicate] for replicate in range(3)] == pytest.approx([40, 20, 20])
    alone = cnon_gradients.best_rows([row for row in rows if row["replicate"] == 0])
    assert next(row["value"] for row in alone if row["metric"] == "neighbours") == 1


def test_accepted_steps_never_raise_the_loss(results):
    rows = select_rows(results["cnon_offline"], {"experiment": "accepted", "metric": "loss"})
    for _, curve in rows.groupby(["problem", "method", "replicate"]):
        values = curve.sort_values("evaluations")["value"]
        assert len(values) == 3
        assert (values.diff().dropna() <= 0).all()


def test_the_ablations_default_is_the_online_surrogate(results):
    online, ablation = PARAMS["cnon_online"], PARAMS["cnon_ablation"]
    for setting in ("iterations", "initial", "spread", "moves", "learning", "queries"):
        assert ablation[setting] == online[setting]
    rows = results["cnon_ablation"]
    assert set(rows["method"]) == set(ablation["variants"])
    assert (select_rows(rows, {"method": "default", "metric": "ratio"})["value"] == 1).all()


# --- claims and figures ---


def test_every_claim_is_about_rows_that_the_experiments_make(results):
    # Levels that a short run does not reach, and its dimension, are another matter.
    assert_claims_have_rows(load_claims(PAPER / "claims.yaml"), results, ignored=("evaluations", "d"))


def test_figures_are_drawn_from_the_rows(results):
    drawn = [
        figures.figure1(), figures.figure2ae(results["cnon_gradients"]),
        figures.figure2fh(results["cnon_offline"]), figures.figure3ab(results["cnon_online"]),
    ]  # fmt: skip
    assert [len(figure.axes) for figure in drawn] == [3, 5, 3, 2]
    labels = figures.figure3ab(results["cnon_online"]).axes[0].get_legend_handles_labels()[1]
    assert set(figures.ONLINE.values()) == set(labels)
