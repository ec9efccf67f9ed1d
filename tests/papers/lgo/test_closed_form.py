"""The direction with values of f in its state: d steps on Gaussians, BFGS on quadratics, and its invariances."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch

from common.functions.gaussians import GaussianFamily, Gaussians, Quadratics
from common.training.keys import torch_generator
from papers.lgo.closed_form import ClosedForm, Step, observe
from papers.lgo.model import iterations_to_tolerance, preset, trajectory_loss

CLOSED = ClosedForm()


class Logarithms(Quadratics):
    def _gap(self, q):
        return q.log1p()

    def _slope(self, q):
        return 1 / (1 + q)


def problem(kind=Gaussians, dim=5, count=6, seed=100, **law):
    functions, start = GaussianFamily(dim, **law).sample(seed, range(count))
    return kind(functions.centers, functions.matrices), start


def points(net, functions, start, steps):
    with torch.no_grad():
        return torch.stack([it.x for it in islice(net.iterates(functions, start, "last"), steps + 1)])


def random_net(hidden=8, seed=0):
    net, generator = ClosedForm(hidden, seed), torch_generator(seed, "test")
    with torch.no_grad():
        for parameter in net.output.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 8])
def test_it_ends_on_gaussians_in_as_many_steps_as_variables(dim):
    functions, start = problem(dim=dim)
    assert (iterations_to_tolerance(CLOSED, functions, start, "last") <= dim).all()
    assert dim < 2 or (iterations_to_tolerance(preset("bfgs"), functions, start, "last") > dim).all()


@pytest.mark.parametrize("law", [{"condition": 1e4}, {"start": (4.0, 10.0)}])
def test_it_needs_fewer_steps_than_bfgs_where_nothing_was_trained(law):
    functions, start = problem(dim=10, count=20, **law)
    ours, bfgs = (iterations_to_tolerance(net, functions, start, "last").double() for net in (CLOSED, preset("bfgs")))
    assert (ours <= bfgs).all()
    assert ours.mean() < bfgs.mean() - 2


@pytest.mark.parametrize("net", [CLOSED, random_net()])
def test_it_is_bfgs_on_quadratics(net):
    functions, start = problem(Quadratics)
    ours, bfgs = points(net, functions, start, 6), points(preset("bfgs"), functions, start, 6)
    torch.testing.assert_close(ours, bfgs, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours[:4], bfgs[:4], rtol=0, atol=1e-10)


@pytest.mark.parametrize("net", [CLOSED, random_net()])
def test_values_never_rise_on_other_transforms_of_quadratics(net):
    functions, start = problem(Logarithms)
    gaps = net(functions, start, 12)
    assert (gaps[1:] <= gaps[:-1] + 1e-12).all()
    assert (gaps[-1] < 1e-6 * gaps[0]).all()


def test_the_scale_change_is_that_of_the_gaussian():
    functions, start = problem()
    before, gradient = functions(start)[:, None], functions.gap_and_gradient(start)[1]
    s = functions.exact_step(start, -gradient)[:, None] * -gradient
    end = functions(start + s)[:, None]
    torch.testing.assert_close(observe(end, Step(before, gradient, s)).delta, (end / before).log())


@pytest.mark.parametrize("delta", [-300.0, -2.0, -1e-5, 1e-5, 0.5, 30.0, 600.0])
def test_the_scale_change_solves_its_equation(delta):
    ratio = torch.tensor([[math.expm1(delta) / delta]], dtype=torch.float64)
    before = Step(torch.zeros(1, 1).double(), torch.tensor([[-2.0]]).double(), torch.ones(1, 1).double())
    value = (-ratio).requires_grad_()
    found = observe(value, before).delta
    assert found.item() == pytest.approx(delta, rel=1e-6)
    slope = ((math.exp(delta) - 1) / delta**2 - math.exp(delta) / delta) ** -1  # of delta, by -ratio
    (derivative,) = torch.autograd.grad(found.sum(), value)
    assert derivative.item() == pytest.approx(slope, rel=1e-3)


def test_nothing_is_learned_from_rounding():
    before = Step(torch.ones(3, 1).double(), -torch.ones(3, 1).double(), torch.ones(3, 1).double())
    values = torch.tensor([[1.0], [1 + 1e-3], [1 - 1e-9]], dtype=torch.float64)
    assert not observe(values, before).delta.any()


def test_it_turns_with_the_axes_and_ignores_translations():
    functions, start = problem()
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch_generator(1, "test"), dtype=torch.float64))[0]
    turned = Gaussians(functions.centers @ rotation.mT + 2, rotation @ functions.matrices @ rotation.mT)
    net = random_net()
    expected = points(net, functions, start, 4) @ rotation.mT + 2
    torch.testing.assert_close(points(net, turned, start @ rotation.mT + 2, 4), expected, rtol=0, atol=1e-8)


def test_a_batch_is_what_its_functions_are_alone():
    functions, start = problem()
    together = points(CLOSED, functions, start, 5)
    for i in range(len(functions)):
        alone = points(CLOSED, functions[i : i + 1], start[i : i + 1], 5)
        torch.testing.assert_close(alone[:, 0], together[:, i], rtol=0, atol=1e-9)


def test_pairs_are_the_matrix_while_none_is_dropped():
    functions, start = problem()
    matrix = [it.gap for it in islice(CLOSED.iterates(functions, start), 6)]
    pairs = [it.gap for it in islice(CLOSED.iterates(functions, start, pairs=10), 6)]
    torch.testing.assert_close(torch.stack(pairs), torch.stack(matrix), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="tail must be last"):
        next(CLOSED.iterates(functions, start, "restart"))


def test_a_solved_function_stays_where_it_is():
    functions, start = problem()
    start[0] = functions.centers[0]
    path = points(CLOSED, functions, start, 12)
    assert torch.isfinite(path).all()
    assert (path[:, 0] == start[0]).all()


def test_an_untrained_network_is_the_closed_form_and_can_be_trained(tmp_path):
    functions, start = problem(Logarithms, start=(4.0, 10.0))  # on Gaussians there is nothing to gain
    net = ClosedForm(8)
    assert torch.equal(points(net, functions, start, 5), points(CLOSED, functions, start, 5))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = trajectory_loss(net(functions, start, 3), functions.optimal_value)
        loss.backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    net.save(tmp_path / "net.safetensors")
    loaded = ClosedForm.load(tmp_path / "net.safetensors")
    assert torch.equal(points(loaded, functions, start, 5), points(net, functions, start, 5))
    with pytest.raises(ValueError, match="negative"):
        ClosedForm(-1)
