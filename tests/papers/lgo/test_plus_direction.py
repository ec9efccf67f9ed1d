"""Transforms of quadratics, the power form, the training of the learned direction, and their experiment."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml
from experiment_rows import run
from scipy.optimize import minimize_scalar

from common.functions.gaussians import GaussianFamily
from common.training.keys import torch_generator
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo import plus_figures, train
from papers.lgo.closed_form import ClosedForm, Step, inconsistency, observe
from papers.lgo.experiments import plus_direction
from papers.lgo.model import iterations_to_tolerance, preset
from papers.lgo.plus_data import TransformsDataModule
from papers.lgo.plus_module import PlusModule, measures
from papers.lgo.power_form import PowerForm, mismatch
from papers.lgo.transforms import TRANSFORMS, log_slope, transformed

PARAMS = yaml.safe_load((Path(train.__file__).parent / "params.yaml").read_text())
SMALL = {"dims": [3], "batch_size": 16, "steps_per_epoch": 5, "validation": 30}
POWERS = {"log": 1.0, "sqrt": 2.0, "square": -1.0, "reciprocal": 0.5, "power": -2.0}  # transform -> e


def problem(name, dim=5, count=6, seed=100, **law):
    functions, start = GaussianFamily(dim, **law).sample(seed, range(count))
    return transformed(functions, name), start


def path(net, functions, start, steps):
    with torch.no_grad():
        return list(islice(net.iterates(functions, start, "last"), steps + 1))


def points(net, functions, start, steps):
    return torch.stack([it.x for it in path(net, functions, start, steps)])


def random_net(seed=0):
    net, generator = ClosedForm(8, seed), torch_generator(seed, "test")
    with torch.no_grad():
        for parameter in net.output.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def observed(functions, start, steps=3):
    """Return what the line searches of the closed form show."""
    its = path(ClosedForm(), functions, start, steps)
    values = [it.gap[:, None] + functions.optimal_value for it in its]
    befores = [Step(v, a.gradient, b.x - a.x) for v, a, b in zip(values, its, its[1:], strict=False)]
    return [observe(value, before) for value, before in zip(values[1:], befores, strict=True)]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradients_and_exact_steps_are_those_of_the_values(name):
    functions, start = problem(name)
    x = start.clone().requires_grad_()
    (expected,) = torch.autograd.grad(functions(x).sum(), x)
    gap, gradient = functions.gap_and_gradient(start)
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(gap, functions(start) - functions.optimal_value)
    torch.testing.assert_close(functions(functions.centers), torch.full((6,), functions.optimal_value).double())
    steps = functions.exact_step(start, -gradient)
    for i in range(3):
        line = minimize_scalar(
            lambda a, i=i: float(functions[i](start[i : i + 1] - a * gradient[i])),
            bracket=(0, float(steps[i]) * 0.7),
            tol=1e-10,
        )
        assert line.x == pytest.approx(float(steps[i]), rel=1e-4)
    q = functions._exponent(start)[0].requires_grad_()
    torch.testing.assert_close(log_slope(functions, start), torch.autograd.grad(functions._value(q).sum(), q)[0].log())


def test_unknown_transforms_are_refused():
    with pytest.raises(ValueError, match="transform must be one of"):
        problem("cube")


@pytest.mark.parametrize("name", ["exp", "q"])
@pytest.mark.parametrize("make", [random_net, PowerForm])
def test_it_is_the_closed_form_on_gaussians_and_bfgs_on_quadratics_by_construction(name, make):
    functions, start = problem(name, start=(0.5, 10.0))
    reference = ClosedForm() if name == "exp" else preset("bfgs")
    ours, expected = points(make(), functions, start, 5), points(reference, functions, start, 5)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours[:4], expected[:4], rtol=0, atol=1e-8)


def test_line_searches_contradict_each_other_but_on_gaussians():
    for name in ("exp", "log", "square", "two gaussians"):
        _, last, now = observed(*problem(name, start=(4.0, 10.0)))
        found = inconsistency(now, last).abs()
        assert (found <= 1).all()
        assert (found < 1e-8).all() if name == "exp" else (found > 1e-6).all(), name


@pytest.mark.parametrize("name", POWERS)
def test_the_power_form_finds_the_power_and_with_it_the_scale(name):
    functions, start = problem(name, start=(4.0, 10.0))
    _, last, now = observed(functions, start)
    e = torch.full_like(now.delta, POWERS[name])
    assert (mismatch(e, now, last).abs() < 1e-8).all()
    log_tau, (_, found) = PowerForm().log_scale(now, (last, torch.zeros_like(e)))
    torch.testing.assert_close(found, e, rtol=1e-5, atol=1e-5)
    x = points(ClosedForm(), functions, start, 3)
    torch.testing.assert_close(log_tau[:, 0], log_slope(functions, x[3]) - log_slope(functions, x[2]))


@pytest.mark.parametrize("name", POWERS)
def test_the_power_form_ends_on_powers_one_step_later_than_on_quadratics(name):
    functions, start = problem(name, count=20, start=(0.5, 10.0))
    needed = [iterations_to_tolerance(net, functions, start, "last") for net in (PowerForm(), preset("bfgs"))]
    assert (needed[0] <= 6).double().mean() > 0.9
    assert needed[0].double().mean() < needed[1].double().mean() - 1


def test_the_power_form_is_no_slower_than_bfgs_where_there_is_no_power():
    for name in ("two gaussians", "tilted log"):
        functions, start = problem(name, count=30, start=(0.5, 10.0))
        ours, bfgs = (iterations_to_tolerance(net, functions, start, "last") for net in (PowerForm(), preset("bfgs")))
        assert ours.double().mean() < bfgs.double().mean() - 0.5


def trained(root, name, epochs, module=None):
    module = module or PlusModule(lr=1e-2)
    run_ = RunDirectory("lgo", name, {}, "code", root=root)
    fit(module, TransformsDataModule(**SMALL), run_, max_epochs=epochs, logger=False, threads=1,
        enable_progress_bar=False)  # fmt: skip
    return module


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_training_lowers_the_loss_and_resumes(tmp_path):
    straight = trained(tmp_path, "straight", 4)
    trained(tmp_path, "resumed", 2)
    resumed = trained(tmp_path, "resumed", 4)
    assert torch.equal(weights(straight.net), weights(resumed.net))
    assert torch.equal(weights(straight.best_net()), weights(resumed.best_net()))
    assert straight.curve == resumed.curve
    data = TransformsDataModule(**SMALL)
    before = measures(ClosedForm(8), data.validation_batch(), data.transforms)
    after = measures(straight.best_net(), data.validation_batch(), data.transforms)
    assert after["loss"] == min(entry["loss"] for entry in straight.curve) < before["loss"] - 0.05


def test_the_command_trains_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = [f"--data.{key}={value}" for key, value in SMALL.items()]
    result = train.main(["--which", "direction", *flags, "--trainer.max_epochs=1", "--trainer.logger=false"])
    file = result.run.path / "weights" / "direction.safetensors"
    assert str(file) in capsys.readouterr().out
    assert torch.equal(weights(ClosedForm.load(file)), weights(result.module.best_net()))
    assert "| closed form |" in file.with_suffix(".md").read_text()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    params = copy.deepcopy(PARAMS["plus_direction"]) | {"replicates": 2, "functions": 2, "limit": 6}
    params["training"]["data"] |= SMALL
    params["training"]["trainer"] = {"max_epochs": 1, "threads": 1}
    for law in params["problems"].values():
        law["dims"] = law["dims"][:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        return run(plus_direction, tmp_path_factory.mktemp("rows"), params)


def test_the_experiment_pairs_methods_on_the_same_functions(rows):
    table = rows.pivot_table(index=["problem", "d", "replicate", "method"], columns="metric", values="value")
    bfgs = table.xs("bfgs", level="method")["iterations"]
    closed = table.xs("closed form", level="method")
    assert set(rows["problem"]) == set(PARAMS["plus_direction"]["problems"])
    torch.testing.assert_close(
        torch.tensor((closed["iterations"] - bfgs).to_numpy()), torch.tensor(closed["over_bfgs"].to_numpy()),
        rtol=0, atol=1e-3,
    )  # fmt: skip
    assert (closed["over_closed"] == 0).all()


def test_the_figure_has_a_panel_for_every_family(rows):
    figure = plus_figures.direction_figure(rows)
    titles = {axis.get_title() for axis in figure.axes if axis.axison}
    assert titles == set(PARAMS["plus_direction"]["problems"])
