"""The Optuna sampler: Optuna's own test cases for samplers, and what ours promises besides."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from common.optimizers import get_optimizer
from papers.optuna import GlobOptSampler, from_unit


@pytest.fixture(autouse=True, scope="module")
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


class TestOptunasOwn(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: GlobOptSampler("bipop", seed=0)


SPACE = {"x": FloatDistribution(-2.0, 6.0), "y": FloatDistribution(0.0, 4.0)}


def bowl(trial):
    return (trial.suggest_float("x", -2, 6) - 1) ** 2 + (trial.suggest_float("y", 0, 4) - 3) ** 2


def study_of(sampler, trials, objective=bowl, study=None, **options):
    study = study or optuna.create_study(sampler=sampler)
    study.sampler = sampler
    study.optimize(objective, n_trials=trials, **options)
    return study


def params_of(study):
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("method", ["bipop", "cmaes", "snes", "random"])
def test_the_points_are_those_of_the_method_itself(method):
    study = study_of(GlobOptSampler(method, seed=3), 41)
    run = get_optimizer(method)().start([[0.0, 0.0], [1.0, 1.0]], rng=3)
    expected = []
    while len(expected) < 40:
        points = run.ask()
        scaled = points * torch.tensor([8.0, 4.0]) + torch.tensor([-2.0, 0.0])
        run.tell(points, (scaled[:, 0] - 1) ** 2 + (scaled[:, 1] - 3) ** 2)
        expected += scaled.tolist()
    # The first trial shows Optuna what parameters there are.
    found = [[params["x"], params["y"]] for params in params_of(study)[1:]]
    np.testing.assert_allclose(found, expected[:40], rtol=1e-9)


def test_a_study_goes_on_after_a_kill_and_after_pickling():
    whole = study_of(GlobOptSampler(seed=5), 30)
    killed = study_of(GlobOptSampler(seed=5), 17)
    study_of(GlobOptSampler(seed=5), 13, study=killed)
    assert params_of(killed) == params_of(whole)
    stored = study_of(GlobOptSampler(seed=5), 17)
    study_of(pickle.loads(pickle.dumps(stored.sampler)), 13, study=stored)
    assert params_of(stored) == params_of(whole)


def test_two_workers_on_one_study_evaluate_the_points_of_one():
    alone = study_of(GlobOptSampler(seed=5), 31)
    shared = study_of(GlobOptSampler(seed=5), 1)
    for _ in range(15):
        for worker in (GlobOptSampler(seed=5), GlobOptSampler(seed=5)):
            study_of(worker, 1, study=shared)
    assert params_of(shared) == params_of(alone)


def test_an_unfinished_point_is_handed_out_again_and_a_dead_worker_blocks_nobody():
    study = study_of(GlobOptSampler("cmaes", population=4, seed=0), 1)
    dead = study.ask(SPACE)
    later = [study.ask(SPACE) for _ in range(4)]
    assert later[3].params == dead.params
    assert len({tuple(trial.params.values()) for trial in later}) == 4
    for trial in later:
        study.tell(trial, bowl(trial))
    assert study.ask(SPACE).params not in [trial.params for trial in later]


def test_an_enqueued_trial_is_not_taken_for_the_point_that_it_replaced():
    study = study_of(GlobOptSampler("cmaes", population=4, seed=0), 1)
    plain = study_of(GlobOptSampler("cmaes", population=4, seed=0), 13)
    study.enqueue_trial({"x": 1.0, "y": 3.0})
    study_of(study.sampler, 13, study=study)
    assert study.trials[1].params == {"x": 1.0, "y": 3.0}
    points = [tuple(params.values()) for params in params_of(study)]
    assert set(points) == {tuple(params.values()) for params in params_of(plain)} | {(1.0, 3.0)}


@pytest.mark.parametrize("ending", ["raises", "pruned", "inf", "all"])
def test_trials_without_a_value_count_as_the_worst(ending):
    def objective(trial):
        value = bowl(trial)
        if ending == "all" or trial.params["x"] > 3:
            if ending == "inf":
                return float("inf")
            raise optuna.TrialPruned if ending == "pruned" else RuntimeError("no such design")
        return value

    study = study_of(GlobOptSampler(seed=1), 150, objective, catch=(RuntimeError,))
    assert len(study.trials) == 150
    assert ending == "all" or study.best_value < 1e-3


def test_the_maximum_of_a_mixed_space_is_found():
    def objective(trial):
        kind = trial.suggest_categorical("kind", ["none", "some", "most"])
        rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        layers = trial.suggest_int("layers", 1, 9)
        inner = trial.suggest_float("depth", 0, 1) if kind == "some" else 0.5
        return (kind == "some") - abs(np.log10(rate) + 3) - abs(layers - 4) / 4 - 0.01 * inner

    def best(sampler):
        study = optuna.create_study(sampler=sampler, direction="maximize")
        study.optimize(objective, n_trials=200)
        return study.best_trial

    found = [best(GlobOptSampler(seed=seed)) for seed in range(3)]
    assert all(trial.params["kind"] == "some" and trial.params["layers"] == 4 for trial in found)
    assert max(abs(np.log10(trial.params["rate"]) + 3) for trial in found) < 0.1
    randomly = [best(optuna.samplers.RandomSampler(seed=seed)).value for seed in range(3)]
    assert np.mean([trial.value for trial in found]) > np.mean(randomly)


def test_every_step_has_an_equal_share_of_the_unit_interval():
    for one in (IntDistribution(3, 9, step=2), FloatDistribution(-1.0, 0.5, step=0.5)):
        values = [from_unit({"v": one}, [u])["v"] for u in (np.arange(4000) + 0.5) / 4000]
        counts = np.unique(values, return_counts=True)[1]
        assert counts.tolist() == [1000] * 4
    corners = {"a": FloatDistribution(1e-3, 1e3, log=True), "b": CategoricalDistribution(["l", "r"])}
    assert from_unit(corners, [0.5, 0.0, 1.0]) == {"a": pytest.approx(1), "b": "r"}
    assert from_unit(corners, [1.0, 1.0, 0.0])["a"] <= 1e3


def test_threads_share_a_run():
    study = study_of(GlobOptSampler(seed=2), 60, n_jobs=4)
    assert study.best_value < 0.1


@pytest.mark.parametrize("method", ["gennes_hop", "lbfgs", "annealing"])
def test_a_method_that_cannot_is_refused_with_those_that_can(method):
    with pytest.raises(ValueError, match=r"these will do: .*bipop.*cmaes"):
        GlobOptSampler(method)
