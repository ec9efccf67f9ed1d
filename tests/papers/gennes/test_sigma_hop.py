"""GENNES-sigma and GENNES-hop: their invariances, rounds and budgets, and the Trainer beside their own loop."""

from __future__ import annotations

from functools import partial
from itertools import groupby

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.functions import make_function
from common.objective import Objective
from common.optimizers import minimize
from common.optimizers.descent import UnitBox
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.gennes.hop import GennesHop
from papers.gennes.problems import fold_seeds
from papers.gennes.sigma import GennesSigma, Rounds, smooth
from papers.gennes.smoothing import Smoothing
from papers.gennes.smoothing_module import SmoothingDataModule, SmoothingModule
from papers.gennes.suites import suite_problem

METHODS = ["gennes_sigma", "gennes_hop"]
GENERATORS = ["network", "mean"]
SMALL = {"width": 8, "depth": 2}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_runs_on_multiples_and_in_other_units_are_the_same_bit_for_bit(asked, method, generator):
    run = partial(asked, method, budget=700, rng=5, **(SMALL | {"generator": generator}))
    function = make_function("rastrigin", 3, bounds=(-3, 3))
    box = torch.tensor([[-3.0, -2.0, -1.0], [2.0, 3.0, 3.0]], dtype=torch.float64)
    X, y, sizes = run(function, box)
    assert max(sizes) > 1  # the smoothing had its turn
    times_four = run(lambda X: 4 * function(X), box)
    np.testing.assert_array_equal(times_four[0], X)
    np.testing.assert_array_equal(times_four[1], 4 * y)
    in_other_units = run(lambda X: function(X / 8), 8 * box)
    np.testing.assert_array_equal(in_other_units[0], 8 * X)
    np.testing.assert_array_equal(in_other_units[1], y)


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_batch_of_members_equals_the_members_alone(generator):
    def gradient(points):
        return points.detach().double() ** 3 - 0.2

    together = Smoothing(3, [5, 6, 7], population=4, iterations=12, generator=generator, **SMALL)
    alone = Smoothing(3, [6], population=4, iterations=12, generator=generator, **SMALL)
    runs = [(together, together.new_optimizer()), (alone, alone.new_optimizer())]
    for step in range(12):
        populations = []
        for smoothing, adam in runs:
            noise = smoothing.noise(step)
            populations.append((*noise, smoothing(*noise)))
            adam.zero_grad()
            smoothing.loss(populations[-1][2], gradient(populations[-1][2])).backward()
            adam.param_groups[0]["lr"] = smoothing.learning_rate(step)
            adam.step()
        (*noises, points), (*noises_alone, points_alone) = populations
        for noise, noise_alone in zip(noises, noises_alone, strict=True):
            assert torch.equal(noise[1], noise_alone[0])
        torch.testing.assert_close(points[1], points_alone[0], rtol=1e-4, atol=1e-5)
    assert float((points[1] - points[0]).detach().abs().max()) > 0.01


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_schedules_of_noise_and_rate_begin_and_end_as_stated(generator):
    smoothing = Smoothing(5, range(30), population=20, iterations=50, generator=generator)
    output_noise = [smoothing.noise(step)[1] for step in (0, 25, 50)]
    measured = [float(noise.std()) for noise in output_noise]
    np.testing.assert_allclose(measured, [0.3, (0.3 * 0.015) ** 0.5, 0.015], rtol=0.05)
    assert float(smoothing.noise(0)[0].abs().max()) == pytest.approx(2.0, rel=0.01)
    assert float(smoothing.noise(50)[0].abs().max()) == pytest.approx(0.02, rel=0.01)
    assert not torch.equal(smoothing.noise(1)[1][0], smoothing.noise(1)[1][1])
    rates = [smoothing.learning_rate(step) for step in range(51)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == smoothing.lr
    assert rates[50] == pytest.approx(0.05 * smoothing.lr)


def test_only_the_directions_of_gradients_count():
    smoothing = Smoothing(3, [1], population=2, iterations=5, **SMALL)
    points = smoothing(*smoothing.noise(0))
    gradient = torch.tensor([[[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    loss = smoothing.loss(points, gradient).detach()
    torch.testing.assert_close(loss, points.detach()[0, 0] @ torch.tensor([0.6, 0.8, 0.0]) / 2)
    assert torch.equal(smoothing.loss(points, 1024 * gradient).detach(), loss)


def test_sigmas_rounds_double_and_a_polish_follows_each(asked):
    _, _, sizes = asked("gennes_sigma", make_function("levy", 4), (-10, 10), 2000, 5, dim=4, **SMALL)
    turns = [(polish, sum(group)) for polish, group in groupby(sizes, lambda size: size == 1)]
    assert [polish for polish, _ in turns[:6]] == [False, True] * 3
    rounds = [evaluations for polish, evaluations in turns if not polish]
    np.testing.assert_allclose(rounds[:2], [250, 500], atol=10)
    left = 2000 - sum(evaluations for _, evaluations in turns[:4])
    assert rounds[2] == pytest.approx(0.8 * left, abs=10)  # for 1000 and a round after them would not fit


def test_hops_begin_and_the_next_round_is_twice_as_long(asked):
    function = make_function("rastrigin", 3, bounds=(-3, 3))
    _, _, sizes = asked("gennes_hop", function, (-3, 3), 3000, 5, dim=3, first=100, **SMALL)
    turns = [(single, sum(group)) for single, group in groupby(sizes, lambda size: size == 1)]
    assert turns[0][0]  # at least half of the first round
    assert 50 <= turns[0][1] < 100
    rounds = [evaluations for single, evaluations in turns if not single]
    np.testing.assert_allclose(rounds, [100, 200, 400, 800][: len(rounds)], rtol=0.1)
    assert len(rounds) >= 3
    for (_, evaluations), (_, hops) in zip(turns[1:-2:2], turns[2:-1:2], strict=True):
        assert hops >= 0.9 * evaluations


def test_every_member_of_a_round_has_its_share():
    objective = Objective(make_function("levy", 3), (-10, 10), dim=3)
    objective.start()
    Rounds("network", 5, 250, 8, 2).run(UnitBox(objective), 0, 0, 200)
    # 5 x 4 points in each of 10 iterations; the polish asks for one at a time
    assert objective.points - (objective.batches - 10) == 200


@pytest.mark.parametrize("method", METHODS)
def test_a_gradients_price_is_paid_and_the_budget_not_exceeded(method):
    function = make_function("rastrigin", 3)
    objective = Objective(function, function.bounds, gradient_cost=4)
    result = minimize(objective, method=method, budget=1000, rng=0, **SMALL)
    assert 996 < result.nfev <= 1000
    assert result.nfev == objective.points + 3 * result.njev


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_small_budgets_are_spent_exactly(method, generator):
    function = make_function("styblinski_tang", 3)
    for budget in [*range(1, 12), 20, 33, 47, 64, 82, 99, 100]:
        calls = []

        def counted(X, calls=calls):
            calls.append(len(X))
            return function(X)

        options = SMALL | {"generator": generator, "first": 8}  # so that hops and rounds have their turns
        result = minimize(counted, (-5, 5), method, budget, 1, dim=3, **options)
        assert sum(calls) == result.nfev == budget
        assert result.status == 1


@pytest.mark.parametrize("dim", [1, 2, 100])
@pytest.mark.parametrize("method", METHODS)
def test_few_and_many_variables(method, dim):
    function = make_function("ackley", dim, bounds=(-20, 10))
    result = minimize(function, (-20, 10), method, 800, 0, dim=dim)
    assert result.fun < (1e-6 if dim < 100 else 2.0)


@pytest.mark.parametrize("generator", GENERATORS)
def test_ackley_in_thirty_variables_is_solved(generator):
    """The optimum is anywhere in the inner half of the box."""
    evaluations = []
    for seed in range(5):
        problem = suite_problem("shifted", "ackley", 30, [seed]).fold(0)
        result = minimize(problem, problem.bounds, "gennes_hop", 2000, seed, target=1e-8, generator=generator)
        evaluations.append(result.nfev if result.status == 2 else np.inf)
    assert sum(count <= 600 for count in evaluations) >= 4


def test_an_easy_function_costs_tens_of_evaluations():
    steepness, bottom = (torch.linspace(low, 10, 20, dtype=torch.float64) for low in (1, -10))
    for seed in range(5):
        result = minimize(
            lambda X: ((X - bottom / 20) ** 2 * steepness).sum(1), (-1, 1), "gennes_hop", 2000, seed, dim=20,
            target=1e-8,
        )  # fmt: skip
        assert result.status == 2
        assert result.nfev < 50


def test_lowered_says_which_rounds_paid():
    function = make_function("rastrigin", 5, bounds=(-3, 3))
    run = GennesHop(first=50, **SMALL)
    run.minimize(Objective(function, function.bounds), 2000, 0)
    assert len(run.lowered) >= 3
    assert not any(run.lowered[1:])  # the hops have solved it by then
    assert run.portfolio.best.value < 1e-8


@pytest.mark.parametrize(
    "settings",
    [{"generator": "nets"}, {"first": 0}, {"first": 2.5}, {"width": 0}, {"depth": -1}, {"depth": True}],
)
@pytest.mark.parametrize("method", [GennesSigma, GennesHop])
def test_bad_settings_are_refused_and_named(method, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        method(**settings)


def test_members_and_arms_are_validated():
    with pytest.raises(ValueError, match="members"):
        GennesSigma(members=0)
    with pytest.raises(ValueError, match="arms"):
        GennesHop(arms=["leap"])
    with pytest.raises(ValueError, match="generator"):
        Smoothing(2, [0], 4, 10, generator="vector")


# Lightning

PROBLEM = {"function": "rastrigin", "dim": 3, "seed": 4, "population": 4, "iterations": 40}


def trained(directory, epochs=4, logger=False, callbacks=(), **settings) -> SmoothingModule:
    module = SmoothingModule(**(PROBLEM | {"folds": 1} | SMALL | settings))
    run = RunDirectory("gennes", "smoothing", {}, "code", root=directory)
    data = SmoothingDataModule(10)
    fit(module, data, run, max_epochs=epochs, threads=1, logger=logger, callbacks=list(callbacks), log_every_n_steps=5)
    return module


@pytest.mark.parametrize("suite", ["shifted", "rotated", "scaled"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_the_optimizers_loop_gives_the_trainers_bits(tmp_path, suite, generator):
    module = trained(tmp_path, suite=suite, generator=generator)
    (seed,) = fold_seeds(4, 1)
    problem = suite_problem(suite, "rastrigin", 3, [seed]).fold(0)
    objective = Objective(problem, problem.bounds)
    objective.start()
    smoothing = Smoothing(3, [seed], 4, 40, generator, **SMALL)
    best = smooth(UnitBox(objective), smoothing)
    assert objective.evaluations == 160
    assert torch.equal(smoothing.generator.theta, module.smoothing.generator.theta)
    assert best.value == objective.best_value == module.best_value.item()
    np.testing.assert_array_equal(module.best_x[0].numpy(), objective.best_x)


def test_folds_under_the_trainer_are_independent(tmp_path):
    together = trained(tmp_path / "together", folds=3)
    alone = trained(tmp_path / "alone", folds=1)
    torch.testing.assert_close(together.best_x[0], alone.best_x[0], rtol=1e-3, atol=1e-3)
    values = together.problem(together.best_x.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(values, together.best_value, rtol=0, atol=0)


class Killed(Exception):
    pass


class KillIn(Callback):
    """Ends the training in the middle of an epoch, between two checkpoints."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise Killed


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_killed_annealing_goes_on_to_the_same_bits(tmp_path, generator):
    straight = trained(tmp_path / "straight", generator=generator)
    with pytest.raises(Killed):
        trained(tmp_path / "killed", generator=generator, callbacks=[KillIn(27)])
    (checkpoint,) = (tmp_path / "killed").glob("gennes/*/last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 20
    resumed = trained(tmp_path / "killed", generator=generator)
    assert torch.equal(straight.smoothing.generator.theta, resumed.smoothing.generator.theta)
    assert torch.equal(straight.best_value, resumed.best_value)
    assert torch.equal(straight.best_x, resumed.best_x)


def test_tensorboard_shows_regret_and_spread(tmp_path):
    module = trained(tmp_path, logger=True, folds=2)
    (events,) = tmp_path.glob("gennes/*/events.out.tfevents*")
    log = EventAccumulator(str(events.parent)).Reload()
    assert {"regret/best", "regret/population", "population/spread", "regret/final"} <= set(log.Tags()["scalars"])
    regrets = [event.value for event in log.Scalars("regret/best")]
    assert len(regrets) == 8
    assert regrets == sorted(regrets, reverse=True)
    spreads = [event.value for event in log.Scalars("population/spread")]
    assert spreads[-1] < 0.1 < spreads[0]
    assert log.Scalars("regret/final")[0].value == pytest.approx(float(module.best_value.mean()), rel=1e-6)


def test_a_training_longer_than_the_annealing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="after 40 iterations"):
        trained(tmp_path, epochs=5)
