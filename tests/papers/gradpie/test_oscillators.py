from __future__ import annotations

import pytest
import torch

from common.training.keys import torch_generator
from papers.gradpie.simulators.oscillators import Oscillators, deviation, sample_oscillators, sample_target


def points(n, dim):
    return 2 * torch.rand(n, dim, generator=torch_generator(0, "points"), dtype=torch.float64) - 1


def pairwise_acceleration(network, q):
    """Return eq. (11), oscillator by oscillator."""
    rows = []
    for i in range(len(network.drive)):
        pull = sum(network.coupling[i, j] * (q[:, j].sin() - q[:, i].sin()) for j in range(len(network.drive)))
        rows.append(-q[:, i].sin() + pull + network.drive[i])
    return torch.stack(rows, dim=1)


def first_order_rk4(network, x, steps):
    """Return q(T) by the textbook's method on the system (q, p)' = (p, a(q))."""
    state, h = (x, torch.zeros_like(x)), network.duration / steps

    def slope(q, p):
        return p, pairwise_acceleration(network, q)

    def moved(factor, k):
        return [s + factor * d for s, d in zip(state, k, strict=True)]

    for _ in range(steps):
        k1 = slope(*state)
        k2 = slope(*moved(h / 2, k1))
        k3 = slope(*moved(h / 2, k2))
        k4 = slope(*moved(h, k3))
        state = tuple(s + h / 6 * (a + 2 * b + 2 * c + d) for s, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True))
    return state[0]


def test_the_map_is_the_textbooks_on_the_pairwise_form():
    network = sample_oscillators(1, 6)
    x = points(9, 6)
    torch.testing.assert_close(network(x), first_order_rk4(network, x, 5), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(network.acceleration(x), pairwise_acceleration(network, x))


def test_the_method_is_of_fourth_order_and_five_steps_are_good_for_three_digits():
    def at(steps):
        return sample_oscillators(0, 10, steps=steps)(points(50, 10))

    exact = at(400)
    errors = [float((at(steps) - exact).abs().max()) for steps in (5, 10, 20)]
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.5)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.3)


def test_a_single_oscillator_is_a_pendulum():
    still = Oscillators(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), 1.0, 200)
    small = 1e-4 * torch.ones(1, 1, dtype=torch.float64)
    torch.testing.assert_close(still(small), small * torch.cos(torch.tensor(1.0)).double(), rtol=1e-7, atol=0)
    assert still(torch.zeros(1, 1, dtype=torch.float64)).item() == 0
    # q'' = -sin q + 1 from rest begins as e t^2 / 2
    driven = Oscillators(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), 1e-3, 1)
    assert driven(torch.zeros(1, 1)).item() == pytest.approx(5e-7, rel=1e-5)


def test_networks_are_keyed_symmetric_and_in_their_ranges():
    network = sample_oscillators(3, 20)
    assert torch.equal(network.coupling, network.coupling.mT)
    assert float(network.coupling.min()) >= 0.5
    assert float(network.coupling.max()) <= 1.5
    assert float(network.coupling.std()) > 0.1
    assert 0.4 < float(network.drive.abs().max()) <= 0.5
    torch.testing.assert_close(network.matrix.sum(1), torch.zeros(20, dtype=torch.float64))
    assert torch.equal(sample_oscillators(3, 20).matrix, network.matrix)
    assert not torch.equal(sample_oscillators(4, 20).matrix, network.matrix)
    with_self = Oscillators(network.coupling, network.drive, include_self=True)
    torch.testing.assert_close(network.matrix - with_self.matrix, network.coupling.diag().diag())
    with pytest.raises(ValueError, match="symmetric"):
        Oscillators(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.zeros(2))


def test_the_jacobian_is_exact():
    network = sample_oscillators(0, 5)
    x, h = points(4, 5), 1e-5
    jacobian = network.jacobian(x)
    for i in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[i] = h
        central = (network(x + step) - network(x - step)) / (2 * h)
        torch.testing.assert_close(jacobian[:, :, i], central, rtol=0, atol=1e-8)
    query = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(query).sum(), query)
    torch.testing.assert_close(gradient, jacobian.sum(1))


def test_renamed_oscillators_give_renamed_amplitudes():
    network = sample_oscillators(0, 7)
    order = torch.randperm(7, generator=torch_generator(0, "order"))
    renamed = Oscillators(network.coupling[order][:, order], network.drive[order])
    x = points(6, 7)
    torch.testing.assert_close(renamed(x[:, order]), network(x)[:, order])


def test_batches_and_precision():
    network = sample_oscillators(0, 4)
    x = points(6, 4)
    torch.testing.assert_close(network(x.view(2, 3, 4)).view(6, 4), network(x))
    single = network(x.float())
    assert single.dtype is torch.float32
    torch.testing.assert_close(single.double(), network(x), rtol=0, atol=1e-6)


def test_the_deviation_is_the_mean_over_oscillators():
    target = sample_target(2, 3)
    assert ((target >= 0) & (target <= 1)).all()
    outputs = target + torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.6, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(deviation(outputs, target), torch.tensor([0.0, 0.3], dtype=torch.float64))
