from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.training.keys import torch_generator
from papers.gradpie.model import (
    full_gradpie_loss,
    gradient_errors,
    gradpie_limit,
    gradpie_loss,
    jacobian,
    mae_loss,
    sphere_constant,
    surrogate_loss,
)
from papers.gradpie.neighbours import Neighbours
from papers.gradpie.queries import MiniBatches

NORMS = ["l1", "squared"]


def normal(*size, key="test"):
    return torch.randn(size, generator=torch_generator(0, key, *size), dtype=torch.float64)


def direct(residual, neighbours, norm):
    """Return eq. (10) of one member, pair by pair."""
    terms = []
    for i, row in enumerate(neighbours):
        for j in row:
            difference = residual[j] - residual[i]
            terms.append((difference**2 if norm == "squared" else difference.abs()).sum())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("norm", NORMS)
def test_the_loss_is_eq_10_pair_by_pair_for_every_member(norm):
    residual, neighbours = normal(3, 12, 2), Neighbours(normal(3, 12, 4), 4).index
    expected = torch.stack([direct(r, i, norm) for r, i in zip(residual, neighbours, strict=True)])
    torch.testing.assert_close(gradpie_loss(residual, neighbours, norm=norm), expected)


@pytest.mark.parametrize("norm", NORMS)
@settings(deadline=None, max_examples=25)
@given(n=st.integers(2, 15), outputs=st.integers(1, 4), seed=st.integers(0, 100))
def test_all_neighbours_are_all_pairs(norm, n, outputs, seed):
    generator = torch_generator(seed, "pairs")
    residual = torch.randn(2, n, outputs, generator=generator, dtype=torch.float64)
    points = torch.randn(2, n, 3, generator=generator, dtype=torch.float64)
    everyone = gradpie_loss(residual, Neighbours(points, n - 1).index, norm=norm)
    torch.testing.assert_close(everyone, full_gradpie_loss(residual, norm))


@pytest.mark.parametrize("norm", NORMS)
def test_a_constant_changes_neither_loss_nor_gradient(norm):
    neighbours = Neighbours(normal(2, 20, 3), 5).index
    results = []
    for offset in (0.0, 1024.0):
        residual = (64 * normal(2, 20, 2)).round().requires_grad_()  # so that the sum is exact
        loss = gradpie_loss(residual + offset, neighbours, norm=norm)
        loss.sum().backward()
        results.append((loss.detach(), residual.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert float(results[0][1].sum(1).abs().max()) < 1e-12


def test_both_losses_vanish_where_f_is_right_and_only_gradpie_where_it_is_off_by_a_constant():
    neighbours = Neighbours(normal(1, 10, 3), 3).index
    zero, constant = torch.zeros(1, 10, 2), torch.full((1, 10, 2), 3.0)
    assert mae_loss(zero).item() == gradpie_loss(zero, neighbours).item() == 0
    assert mae_loss(constant).item() == 6
    assert gradpie_loss(constant, neighbours).item() == full_gradpie_loss(constant).item() == 0


@pytest.mark.parametrize("loss", ["gradpie", "mae"])
def test_a_mini_batch_has_loss_and_gradient_of_its_points(loss):
    """By the unique rows, against the direct sum over the batch's points with the whole data set at hand."""
    x, y = normal(3, 30, 4), normal(3, 30, 2, key="y")
    neighbours = Neighbours(x, 4).index
    batches = MiniBatches(x, y, neighbours, 8, seeds=[5, 6, 7])
    weight = normal(3, 4, 2, key="weight").requires_grad_()

    def linear(points):
        return points @ weight

    seen = [[] for _ in range(3)]
    for step in range(4):
        batch = batches.batch(step)
        assert batch.x.shape[1] <= min(30, batch.centres.shape[1] * 5)
        found = surrogate_loss(linear, batch, loss)
        (gradient,) = torch.autograd.grad(found.sum(), weight)
        residual, expected = linear(x) - y, []
        for member in range(3):
            centres = torch.randperm(30, generator=torch_generator(5 + member, "order", 0))[8 * step : 8 * step + 8]
            seen[member] += centres.tolist()
            if loss == "mae":
                expected.append(residual[member, centres].abs().sum(1).mean())
            else:
                pairs = residual[member, neighbours[member, centres]] - residual[member, centres, None]
                expected.append(pairs.abs().sum(-1).mean())
        torch.testing.assert_close(found, torch.stack(expected))
        (direct_gradient,) = torch.autograd.grad(sum(expected), weight)
        torch.testing.assert_close(gradient, direct_gradient)
    assert all(sorted(numbers) == list(range(30)) for numbers in seen)
    assert not torch.equal(batches.batch(4).centres, batches.batch(0).centres)


def test_a_linear_surrogate_finds_the_slope_whatever_the_level_of_the_data():
    slope = normal(3, 2)
    x = normal(1, 30, 3)
    y = x @ slope + torch.tensor([100.0, -7.0], dtype=torch.float64)
    neighbours = Neighbours(x, 5).index
    weight = nn.Parameter(torch.zeros(1, 3, 2, dtype=torch.float64))
    adam = torch.optim.Adam([weight], 0.03)
    for step in range(600):
        adam.param_groups[0]["lr"] = 0.03 * (1 - step / 600) ** 2
        adam.zero_grad()
        gradpie_loss(x @ weight - y, neighbours).sum().backward()
        adam.step()
    assert float((weight[0] - slope).detach().abs().max()) < 1e-3


@pytest.mark.parametrize("dim", [1, 2, 6, 50])
def test_the_constant_of_eq_9_by_monte_carlo(dim):
    points = torch.randn(30_000, dim, generator=torch_generator(1, "sphere", dim), dtype=torch.float64)
    points /= points.norm(dim=1, keepdim=True)
    assert sphere_constant(dim) == pytest.approx(points[:, 0].abs().mean().item(), rel=0.02)
    closed = math.gamma(dim / 2) / (math.sqrt(math.pi) * math.gamma((dim + 1) / 2))
    assert sphere_constant(dim) == pytest.approx(closed)


def test_the_loss_of_near_pairs_tends_to_eq_9():
    dim, outputs, eps = 5, 3, 1e-4
    difference = normal(outputs, dim, key="J")
    direction = normal(20_000, dim, key="u")
    direction /= direction.norm(dim=1, keepdim=True)
    centre = normal(20_000, dim, key="x")

    def residual(x):  # its Jacobian at x is `difference` plus something that vanishes on average
        return x @ difference.T

    pairs = torch.stack([residual(centre), residual(centre + eps * direction)], dim=1)
    assert full_gradpie_loss(pairs).mean().item() == pytest.approx(gradpie_limit(difference, eps).item(), rel=0.02)


def test_jacobians_and_their_errors():
    matrix = normal(2, 4, 3)
    x = normal(2, 7, 4)
    jacobians = jacobian(lambda points: points.square() @ matrix, x)
    exact = (2 * x.unsqueeze(2) * matrix.mT.unsqueeze(1)).expand(2, 7, 3, 4)
    torch.testing.assert_close(jacobians, exact)
    right, longer, opposite = (gradient_errors(factor * exact, exact) for factor in (1, 3, -1))
    assert (right["relative_error"] == 0).all()
    torch.testing.assert_close(longer["relative_error"], torch.full((2, 7), 2.0, dtype=torch.float64))
    torch.testing.assert_close(longer["cosine"], torch.ones(2, 7, dtype=torch.float64))
    torch.testing.assert_close(opposite["cosine"], -torch.ones(2, 7, dtype=torch.float64))
