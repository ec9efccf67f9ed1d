"""The optimizer, the LightningModule under the Trainer, and that they are the same thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.metrics.curves import best_after
from common.optimizers import minimize
from common.training.cli import train_command
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.gennes.data import NoiseDataModule
from papers.gennes.experiments.training import train
from papers.gennes.experiments.tuning import best_rates
from papers.gennes.module import GennesModule
from papers.gennes.optimizer import Gennes
from papers.gennes.problems import HALF_WIDTHS, benchmark_problem, fold_seeds
from papers.gennes.train import PARAMS

SMALL = {"function": "rastrigin", "dim": 3, "folds": 3, "seed": 4, "width": 16, "depth": 2, "lr": 1e-3}


def trained(cache, budget=400, alpha=0.97, **changes) -> GennesModule:
    settings = SMALL | {"alpha": alpha} | changes
    params = {"budget": budget, "population": 20, "shift": settings.pop("shift", 0.5)}
    params |= {"replicates": settings.pop("folds"), "seed": settings.pop("seed")}
    return train(params, cache, settings.pop("function"), settings.pop("dim"), **settings)


def test_public_optimizer_gives_the_trainers_bits(tmp_path):
    """One fold alone: every query of ask/tell equals the Trainer's, and so do the final weights."""
    module = trained(tmp_path, folds=1, record=list(range(20)))
    (seed,) = fold_seeds(4, 1)
    problem = benchmark_problem("rastrigin", 3, [seed]).fold(0)
    run = Gennes(width=16, depth=2, lr=1e-3, alpha=0.97).start(problem.bounds, budget=400, rng=seed)
    for iteration in range(20):
        X = run.ask()
        assert torch.equal(X, module.populations[iteration][0])
        query = X.clone().requires_grad_()
        y = problem(query)
        (grad,) = torch.autograd.grad(y.sum(), query)
        run.tell(X, y.detach(), grad)
    assert run.stop() == {"budget": 400}
    assert torch.equal(run.generator.theta, module.generator.theta)
    result = minimize(problem, problem.bounds, "gennes", 400, seed, width=16, depth=2, lr=1e-3, alpha=0.97)
    curve = best_after(result.history, range(20, 401, 20)) - problem.optimal_value
    np.testing.assert_array_equal(curve, module.trace[:, 0].numpy())
    np.testing.assert_array_equal(result.x, module.best_x[0].numpy())


def test_a_batch_of_folds_equals_the_folds_alone(tmp_path):
    together = trained(tmp_path)
    seeds = fold_seeds(4, 3)
    for fold, seed in enumerate(seeds):
        problem = benchmark_problem("rastrigin", 3, [seed]).fold(0)
        alone = minimize(problem, problem.bounds, "gennes", 400, seed, width=16, depth=2, lr=1e-3, alpha=0.97)
        curve = best_after(alone.history, range(20, 401, 20)) - problem.optimal_value
        np.testing.assert_allclose(curve, together.trace[:, fold].numpy(), rtol=1e-3)


def test_settings_of_an_ensemble_do_not_touch_each_other(tmp_path):
    both = trained(tmp_path / "both", alpha=[0.97, 0.9], lr=[1e-3, 1e-2])
    for setting, (alpha, lr) in enumerate([(0.97, 1e-3), (0.9, 1e-2)]):
        alone = trained(tmp_path / str(setting), alpha=alpha, lr=lr)
        columns = both.trace[:, setting * 3 : setting * 3 + 3]
        torch.testing.assert_close(columns, alone.trace, rtol=1e-3, atol=1e-9)


def test_evaluations_are_population_times_iterations_and_the_trace_falls(tmp_path):
    module = trained(tmp_path, budget=450)
    assert module.trace.shape == (22, 3)  # 22 whole populations fit into 450
    assert (module.trace.diff(dim=0) <= 0).all()
    assert (module.trace >= 0).all()
    problem = benchmark_problem("rastrigin", 3, fold_seeds(4, 3))
    value = problem(module.best_x.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(value - problem.optimal_value, module.trace[-1], rtol=0, atol=0)


def test_resumed_training_equals_the_uninterrupted_one(tmp_path):
    def run(name):
        return RunDirectory("gennes", name, {}, "code", root=tmp_path)

    def fitted(directory, epochs, module=None):
        module = module or GennesModule(**SMALL, record=[1, 25])
        fit(module, NoiseDataModule(20, 0.97, 10), directory, max_epochs=epochs, logger=False, threads=1)
        return module

    straight = fitted(run("straight"), 4)
    fitted(run("resumed"), 2)
    resumed = fitted(run("resumed"), 4)
    assert torch.equal(straight.generator.theta, resumed.generator.theta)
    assert torch.equal(straight.trace, resumed.trace)
    assert torch.equal(straight.best_x, resumed.best_x)
    assert straight.populations.keys() == resumed.populations.keys() == {1, 25}
    assert torch.equal(straight.populations[1], resumed.populations[1])
    finished = fitted(run("resumed"), 4)  # a third call trains nothing and has it all
    assert torch.equal(finished.trace, straight.trace)


def test_zero_learning_rate_leaves_the_weights(tmp_path):
    module = trained(tmp_path, lr=0.0)
    assert torch.equal(module.generator.theta, GennesModule(**(SMALL | {"lr": 0.0})).generator.theta)


def test_population_shrinks_with_the_noise():
    run = Gennes(width=16, depth=2, alpha=0.5).start([[-1.0] * 2, [1.0] * 2], rng=0)
    spreads = []
    for _ in range(40):
        X = run.ask()
        spreads.append(float(X.std(0).mean()))
        run.tell(X, X.sum(1), torch.zeros_like(X))
    assert spreads[0] > 0.1
    assert spreads[-1] < 1e-6


def test_restarts_are_independent_generators():
    run = Gennes(width=16, depth=2, restarts=3, population=5).start([[-1.0] * 2, [1.0] * 2], rng=9)
    single = Gennes(width=16, depth=2, population=5).start([[-1.0] * 2, [1.0] * 2], rng=9)
    X = run.ask()
    assert X.shape == (15, 2)
    assert torch.equal(X[:5], single.ask())
    other = Gennes(width=16, depth=2, population=5).start([[-1.0] * 2, [1.0] * 2], rng=key_seed(9, "restart", 2))
    assert torch.equal(X[10:], other.ask())


@pytest.mark.parametrize(
    ("problem", "settings", "budget", "goal"),
    [
        ("ackley", {}, 10_000, 0.02),
        ("rastrigin", {"lr": 3e-4}, 10_000, 8.0),
        ("styblinski_tang", {"lr": 1e-3}, 5_000, 160),
    ],
)
def test_regret_on_the_papers_problems(problem, settings, budget, goal):
    regrets = []
    for seed in fold_seeds(99, 2):
        function = benchmark_problem(problem, 10, [seed]).fold(0)
        regrets.append(minimize(function, function.bounds, "gennes", budget, seed, **settings).fun)
    assert np.mean(regrets) < goal


def test_float64_network_and_uneven_box():
    bounds = [[-1.0, 100.0], [0.0, 1e6]]
    target = torch.tensor([-0.3, 2e5], dtype=torch.float64)
    scale = torch.tensor([1.0, 1e6], dtype=torch.float64)
    result = minimize(
        lambda X: (((X - target) / scale) ** 2).sum(1),
        bounds,
        "gennes",
        4000,
        0,
        dtype=torch.float64,
        width=32,
        lr=3e-3,
    )
    assert result.fun < 1e-3


def test_problems_are_the_functions_in_the_papers_boxes():
    seeds = fold_seeds(0, 4)
    for name, half_width in HALF_WIDTHS.items():
        problem = benchmark_problem(name, 2, seeds)
        assert problem.bounds.tolist() == [[-half_width] * 2, [half_width] * 2]
        at_optimum = problem(problem.optimizers)
        torch.testing.assert_close(at_optimum, torch.full_like(at_optimum, problem.optimal_value), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="Schwefel"):
        benchmark_problem("schwefel", 10, seeds, shift=250.0)
    with pytest.raises(ValueError, match="rastrigin"):
        benchmark_problem("levy", 10, seeds)


def test_fold_seeds_do_not_move_when_folds_are_added():
    assert fold_seeds(3, 5)[:2] == fold_seeds(3, 2)


@pytest.mark.parametrize("settings", [{"population": 0}, {"lr": 0}, {"alpha": 2.0}, {"restarts": 0}, {"alpha": "slow"}])
def test_bad_settings_are_refused_at_once(settings):
    with pytest.raises(ValueError):
        Gennes(**settings)


def test_settings_and_rates_must_agree(tmp_path):
    with pytest.raises(ValueError, match="2 values for 1 settings"):
        trained(tmp_path, alpha=[0.9, 0.99])


def test_command_line_trains_resumes_and_writes_tensorboard(tmp_path, capsys):
    from papers.gennes import model

    def command(*flags):
        small = ["--model.dim=2", "--model.folds=2", "--model.width=16", "--data.iterations_per_epoch=5"]
        return train_command(
            GennesModule,
            NoiseDataModule,
            paper="gennes",
            params_file=PARAMS,
            code=[model],
            args=[*small, "--trainer.max_epochs=3", *flags],
            root=tmp_path,
        )

    first = command()
    assert first.module.trace.shape == (15, 2)
    assert "tensorboard --logdir" in capsys.readouterr().out
    events = list(first.run.path.glob("events.out.tfevents*"))
    assert events
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(first.run.path)).Reload()
    assert {"regret/best", "regret/population", "population/spread", "regret/final"} <= set(log.Tags()["scalars"])
    assert log.Tags()["images"] == ["population/first_fold"]
    again = command()
    assert torch.equal(again.module.generator.theta, first.module.generator.theta)
    assert command("--model.lr=1e-2").run.path != first.run.path


def test_learning_rates_are_chosen_by_the_geometric_mean_over_checkpoints():
    import pandas as pd

    rows = [
        {"problem": "f", "method": f"lr={lr}", "d": d, "evaluations": e, "replicate": r, "value": value * scale}
        for d, scale in ((10, 1.0), (30, 100.0))
        for r in range(2)
        for lr, values in (("0.001", (4.0, 1.0, 3.0)), ("0.01", (1.0, 1.0, 1.0)), ("0.1", (0.9, 50.0, 2.0)))
        for e, value in zip((100, 1000, 5000), values, strict=True)
    ]
    # 5000 is no power of ten: it does not count
    assert best_rates(pd.DataFrame(rows)) == {"f": 0.01}
