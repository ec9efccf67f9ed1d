"""Tilted directions beside the paper's policies, the trial behind LGOPlus, and their figure."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import yaml
from experiment_rows import run

from papers.lgo import optimizer
from papers.lgo.environments import Mixtures, better_minima
from papers.lgo.escaping_figures import plus_escaping_figure
from papers.lgo.experiments import plus_escaping, plus_tuning
from papers.lgo.policy import LearnedPolicy
from papers.lgo.policy_data import PolicyDataModule
from papers.lgo.tilt import FixedTilt, Lengths, explore_tilted
from papers.lgo.tilt_module import TiltModule

PARAMS = yaml.safe_load((Path(optimizer.__file__).parent / "params.yaml").read_text())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    params = copy.deepcopy(PARAMS["plus_escaping"]) | {"replicates": 2, "functions": 3, "initial": 10, "steps": 4}
    params["problems"] = {
        "mixture": {2: params["problems"]["mixture"][2]},
        "mixture, far": params["problems"]["mixture, far"],
    }
    params["training"] |= {"model": {"steps": 3}, "trainer": {"max_epochs": 1}}
    params["training"]["data"] |= {"batch_size": 2, "steps_per_epoch": 1}
    folder = tmp_path_factory.mktemp("plus_escaping")
    LearnedPolicy(initial=10).save(folder / "policy.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        patch.setattr(optimizer, "WEIGHTS", folder)
        return run(plus_escaping, folder, params)


def test_every_method_tries_as_many_directions_on_the_same_functions(rows):
    assert rows["method"].nunique() == 2 * 5 + 1
    assert set(rows["metric"]) == set(plus_escaping.METRICS)
    assert (rows.groupby(["problem", "d", "method", "metric"]).size() == 2).all()
    at_ten = rows[rows["d"] == 10].pivot_table(index="method", columns="metric", values="value")
    assert (at_ten.loc["tilt", "hit_rate"]) > at_ten.loc["random", "hit_rate"]
    assert at_ten.loc["tilt, lengths", "gradients"] <= 14 * 9
    assert at_ten.loc["random", "gradients"] > at_ten.loc["random, lengths", "gradients"]


def test_sphere_restarts_cost_their_local_searches_only(rows):
    sphere = rows[rows["method"] == plus_escaping.SPHERE].set_index(["problem", "d", "replicate", "metric"])["value"]
    wide = sphere.unstack()
    assert (wide["gradients"] == 0).all()
    expected = 1000 * wide["minima"] / (14 * PARAMS["plus_escaping"]["local_search"])
    assert wide["minima_per_1000"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)


def test_sphere_restarts_are_as_far_as_they_say_and_those_of_their_seed():
    functions = Mixtures.sample(4, [1, 2], wells=3, distance=4.0)
    found = plus_escaping.sphere_restarts(functions, [5, 6], 40, 0.5, 12.0)
    lengths = (found.points - functions.start[:, None]).norm(dim=-1)
    assert 0.5 <= lengths.min() < 1.0
    assert 6.0 < lengths.max() <= 12.0
    assert float(lengths.median()) == pytest.approx(6**0.5, rel=0.5)
    torch.testing.assert_close(found.values, functions(found.points))
    alone = plus_escaping.sphere_restarts(Mixtures.sample(4, [2], wells=3, distance=4.0), [6], 40, 0.5, 12.0)
    torch.testing.assert_close(alone.points[0], found.points[1])


def test_the_figure_has_a_panel_a_problem(rows):
    axes = plus_escaping_figure(rows).axes
    assert [axis.get_title() for axis in axes] == ["mixture, d = 2", "mixture, far, d = 10"]
    assert all(len(axis.containers) == 11 for axis in axes)


def test_the_loss_is_zero_where_nothing_is_chosen_and_has_a_gradient_elsewhere():
    module = TiltModule(dim=10, steps=4)
    data = PolicyDataModule(wells=5, distance=3.5, batch_size=3)
    data.dim, data.initial, data.steps = module.dim, module.initial, module.steps
    batch = data.batch(0)
    loss = module.training_step(batch, 0)
    loss.backward()
    assert module.policy.output.weight.grad.abs().sum() > 0
    fixed = explore_tilted(batch.functions.score(Lengths(), record=True), batch.seeds, 10, 4, policy=FixedTilt())
    assert (fixed.log_probability == 0).all()
    assert (better_minima(batch.functions, fixed.escapes)[1] <= fixed.escapes.promising).all()


def test_the_trial_has_a_row_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")
    params = copy.deepcopy(PARAMS["plus_tuning"]) | {"replicates": 2, "evaluations": 20, "dims": [2]}
    params["variants"] = {"all arms": {}}
    params["peers"] = {"lbfgs": {}}
    found = run(plus_tuning, tmp_path, params)
    assert len(found) == 2 * 5 * 2
    assert found["value"].min() <= 20
    finite = found[found["value"] != float("inf")]
    assert (finite["value"] <= 20).all()
