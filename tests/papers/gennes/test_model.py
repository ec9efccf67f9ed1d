from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import UNIFORM_STD, GeneratorEnsemble, eq9_last_std, pathwise_loss, to_box
from papers.gennes.noise import AnnealedNoise, annealing_rate


def plain_network(ensemble: GeneratorEnsemble, member: int) -> nn.Sequential:
    """Return one member as ordinary torch layers with the same weights: the independent implementation."""
    sizes = [ensemble.noise_dim, *[ensemble.width] * ensemble.depth, ensemble.dim]
    layers: list[nn.Module] = []
    theta, at = ensemble.theta.detach()[member], 0
    for i, (a, b) in enumerate(pairwise(sizes)):
        linear = nn.Linear(a, b, dtype=theta.dtype)
        with torch.no_grad():
            linear.weight.copy_(theta[at : at + a * b].view(a, b).T)
            linear.bias.copy_(theta[at + a * b : at + a * b + b])
        at += a * b + b
        layers += [linear, nn.Tanh() if i == ensemble.depth else nn.LeakyReLU(0.2)]
    assert at == theta.numel()
    return nn.Sequential(*layers)


def test_every_member_is_the_plain_network_with_its_weights():
    ensemble = GeneratorEnsemble(3, [1, 2, 3], noise_dim=4, width=16, depth=3, dtype=torch.float64)
    noise = torch.randn(3, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = ensemble(noise)
    for member in range(3):
        torch.testing.assert_close(out[member], plain_network(ensemble, member)(noise[member]))


@pytest.mark.parametrize("init", ["authors", "eq9", "calibrated"])
def test_a_members_weights_depend_on_its_own_seed_alone(init):
    together = GeneratorEnsemble(3, [5, 6, 7], width=8, depth=2, init=init, dtype=torch.float64)
    alone = GeneratorEnsemble(3, [6], width=8, depth=2, init=init, dtype=torch.float64)
    torch.testing.assert_close(together.theta[1], alone.theta[0], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(together.theta[0], together.theta[1])


def test_eq9_as_printed():
    # lambda^2 nu^2 = beta^2 / (h 0.3^n), with nu^2 = m_0^2 / 3
    std = eq9_last_std(output_std=0.4, noise_scale=2.0, width=100, depth=3)
    assert std**2 * (2.0**2 / 3) == pytest.approx(0.4**2 / (100 * 0.3**3))
    # the authors' constants satisfy it for beta = 0.64
    assert eq9_last_std(0.64, 2.0, 128, 5) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_second_moment_law(slope):
    """E[z^2] before tanh = lambda^2 h nu^2 ((1 + a^2) / 2)^n for Gaussian weights of variance 1 / fan-in."""
    width, depth, nets = 64, 4, 300
    ensemble = GeneratorEnsemble(10, range(nets), width=width, depth=depth, slope=slope, init="eq9", output_std=0.3)
    noise = torch.stack([AnnealedNoise([seed], 100, 10).draw(0)[0] for seed in range(nets)])
    with torch.no_grad():
        measured = ensemble.before_tanh(noise).square().mean().sqrt()
    lam = eq9_last_std(0.3, 2.0, width, depth)
    law = lam * math.sqrt(width * (4 / 3) * ((1 + slope**2) / 2) ** depth)
    assert float(measured) == pytest.approx(law, rel=0.1)


def test_authors_initialisation():
    ensemble = GeneratorEnsemble(10, range(20), noise_dim=7, width=50, depth=2)
    theta = ensemble.theta.detach()
    first = theta[:, : 7 * 50]
    limit = math.sqrt(6 / (7 + 50))  # Glorot uniform
    assert float(first.abs().max()) <= limit
    assert float(first.std()) == pytest.approx(limit / math.sqrt(3), rel=0.05)
    last = theta[:, -(50 * 10 + 10) : -10]
    assert float(last.abs().max()) <= 2.0  # cut at two standard deviations, which leaves 0.88 of the first
    assert float(last.std()) == pytest.approx(0.8796, rel=0.03)
    assert float(theta[:, -10:].abs().max()) == 0.0


def test_calibrated_has_the_wanted_standard_deviation():
    for wanted in (0.1, UNIFORM_STD):
        ensemble = GeneratorEnsemble(10, range(5), width=64, init="calibrated", output_std=wanted)
        noise = AnnealedNoise([100 + seed for seed in range(5)], 3000, 10).draw(0)
        with torch.no_grad():
            std = ensemble.before_tanh(noise).var(dim=1).mean(dim=1).sqrt()
        torch.testing.assert_close(std, torch.full((5,), wanted), rtol=0.05, atol=0)


def test_spread_at_the_default_initialisation():
    """Eq. (9) at beta = 1/sqrt(3): within one network, after tanh, about that spread (saturation helps)."""
    ensemble = GeneratorEnsemble(10, range(50), init="eq9")
    noise = AnnealedNoise(range(50), 400, 10).draw(0)
    with torch.no_grad():
        spread = ensemble(noise).var(dim=1).mean().sqrt()
    assert 0.45 < float(spread) < 0.65


def test_pathwise_loss_has_the_gradient_of_the_mean_objective():
    ensemble = GeneratorEnsemble(3, [1, 2], width=8, depth=2, dtype=torch.float64)
    bounds = torch.tensor([[-1.0, -2, -3], [4, 5, 6]], dtype=torch.float64)
    noise = AnnealedNoise([1, 2], 6, 3, dtype=torch.float64).draw(0)

    def objective(x):
        return (x**2).sum(-1) + x.prod(-1)

    points = to_box(ensemble(noise), bounds)
    (direct,) = torch.autograd.grad(objective(points).mean(dim=1).sum(), ensemble.theta, retain_graph=True)
    query = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(query).sum(), query)
    (pathwise,) = torch.autograd.grad(pathwise_loss(points, gradient), ensemble.theta)
    torch.testing.assert_close(pathwise, direct)


@given(st.integers(0, 600), st.floats(0.8, 1.0), st.floats(0.1, 5.0))
def test_noise_stays_within_the_annealed_magnitude(step, alpha, scale):
    noise = AnnealedNoise([3], 20, 4, scale, alpha, dtype=torch.float64).draw(step)
    assert float(noise.abs().max()) <= scale * alpha**step
    if step == 0:
        assert float(noise.abs().max()) > 0.8 * scale  # the first population is not annealed


def test_noise_of_a_member_is_its_own():
    both = AnnealedNoise([8, 9], 5, 3, alpha=[0.5, 0.9]).draw(2)
    torch.testing.assert_close(both[1], AnnealedNoise([9], 5, 3, alpha=0.9).draw(2)[0], rtol=0, atol=0)
    assert not torch.equal(both[1], AnnealedNoise([9], 5, 3, alpha=0.9).draw(3)[0])


def test_annealing_rates():
    assert annealing_rate(0.9, None) == 0.9
    assert annealing_rate("auto", 500) ** 500 == pytest.approx(0.01)
    assert annealing_rate("auto", None) == 0.99
    assert pytest.approx(0.0066, rel=0.01) == 0.99**500
    for bad in (0.0, 1.1, -1, "slow"):
        with pytest.raises(ValueError, match="alpha"):
            annealing_rate(bad, 10)


def gradients(steps: int, members: int, size: int) -> torch.Tensor:
    return torch.randn(steps, members, size, generator=torch.Generator().manual_seed(1))


def test_ensemble_adam_equals_torch_adam_member_by_member():
    rates = [1e-3, 3e-2, 0.0]
    start = gradients(1, 3, 50)[0]
    theta = nn.Parameter(start.clone())
    ensemble = EnsembleAdam([theta], rates)
    members = [nn.Parameter(row.clone()) for row in start]
    fused = [torch.optim.Adam([member], lr=lr, fused=True) for member, lr in zip(members, rates, strict=True)]
    slow = [nn.Parameter(row.clone().double()) for row in start]
    loops = [torch.optim.Adam([member], lr=lr) for member, lr in zip(slow, rates, strict=True)]
    for grad in gradients(40, 3, 50):
        theta.grad = grad.clone()
        ensemble.step()
        for k in range(3):
            members[k].grad, slow[k].grad = grad[k].clone(), grad[k].double()
            fused[k].step()
            loops[k].step()
    for k in range(3):
        assert torch.equal(theta[k], members[k])
        torch.testing.assert_close(theta[k].double(), slow[k].detach(), rtol=1e-4, atol=1e-6)
    assert torch.equal(theta[2], start[2])  # a rate of 0 leaves the weights where they are


def test_ensemble_adam_state_round_trip():
    theta = nn.Parameter(gradients(1, 2, 8)[0])
    adam = EnsembleAdam([theta], [1e-2, 1e-3])
    twin = nn.Parameter(theta.detach().clone())
    other = EnsembleAdam([twin], [1e-2, 1e-3])
    grads = gradients(6, 2, 8)
    for t, grad in enumerate(grads):
        theta.grad = grad.clone()
        adam.step()
        if t == 2:
            other.load_state_dict(copy.deepcopy(adam.state_dict()))
            with torch.no_grad():
                twin.copy_(theta)
        if t > 2:
            twin.grad = grad.clone()
            other.step()
    assert torch.equal(theta, twin)


@pytest.mark.parametrize("settings", [{"init": "xavier"}, {"width": 0}, {"depth": 0}, {"seeds": []}, {"dim": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        GeneratorEnsemble(**({"dim": 2, "seeds": [0]} | settings))


def test_negative_learning_rate_is_refused():
    with pytest.raises(ValueError, match="learning rates"):
        EnsembleAdam([nn.Parameter(torch.zeros(2, 2))], [1e-3, -1e-3])
