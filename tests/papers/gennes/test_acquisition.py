"""Counted acquisition queries, and what every maximizer owes its caller."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from scipy.stats import norm

from common.optimizers.lbfgs import local_search
from papers.gennes.acquisition import ACQUISITIONS, MAXIMIZERS, acquisition_objective, maximize

BOUNDS = torch.tensor([[0.0, 0.2], [1.0, 0.9]], dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    X = torch.lerp(*BOUNDS, torch.rand(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    Y = torch.sin(5 * X).sum(dim=1, keepdim=True)
    return SingleTaskGP(X, (Y - Y.mean()) / Y.std(), outcome_transform=None).eval()


@pytest.fixture
def counted(model):
    """LogEI that counts its rows."""

    class Counted(torch.nn.Module):
        rows = 0

        def forward(self, X):
            self.rows += len(X)
            return logei(X)

    logei = ACQUISITIONS["logei"](model, model.train_targets.max())
    return Counted()


@pytest.mark.parametrize("method", MAXIMIZERS)
def test_every_call_is_counted_and_the_point_has_the_value(counted, method):
    found = maximize(counted, BOUNDS, method, 0, **({} if method == "repeated_lbfgs" else {"budget": 150}))
    assert found.queries == counted.rows
    assert found.queries == 150 or method in ("repeated_lbfgs", "cmaes")
    assert torch.equal(found.x, found.x.clamp(*BOUNDS))
    assert counted(found.x.view(1, 1, -1)).item() == pytest.approx(found.value, rel=1e-9)
    for history in (found.by_queries, found.by_seconds):
        assert (np.diff(history, axis=0) >= 0).all()
        assert history[-1, 1] == found.value
    assert found.by_queries[-1, 0] <= found.queries
    again = maximize(counted, BOUNDS, method, 0, budget=found.queries)
    assert torch.equal(again.x, found.x)


@pytest.mark.parametrize("method", ["gennes_sigma", "gennes_hop", "lbfgs", "repeated_lbfgs", "optimize_acqf"])
def test_those_that_use_gradients_well_find_the_maximum(counted, method):
    side = torch.linspace(0, 1, 60, dtype=torch.float64)
    grid = torch.lerp(*BOUNDS, torch.cartesian_prod(side, side))
    assert maximize(counted, BOUNDS, method, 1, budget=600).value >= counted(grid.unsqueeze(1)).max().item()


def test_it_draws_from_no_global_generator(counted):
    state = torch.get_rng_state()
    maximize(counted, BOUNDS, "optimize_acqf", 0, budget=50)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_values_and_gradients(model, name):
    best = model.train_targets.max()
    objective = acquisition_objective(ACQUISITIONS[name](model, best), BOUNDS)
    X = torch.lerp(*BOUNDS, torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    values, gradients = objective.value_and_gradient(X)
    assert objective.evaluations == 6
    posterior = model.posterior(X)
    mean, std = posterior.mean.squeeze(1).detach().numpy(), posterior.variance.sqrt().squeeze(1).detach().numpy()
    u = (mean - best.item()) / std
    improvement = std * (norm.pdf(u) + u * norm.cdf(u))
    expected = {"ei": improvement, "logei": np.log(improvement), "ucb": mean + 2 * std}[name]
    np.testing.assert_allclose(-values, expected, rtol=1e-5)
    step = 1e-5
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = step
        slope = (objective(X + shift) - objective(X - shift)) / (2 * step)
        np.testing.assert_allclose(gradients[:, axis], slope, rtol=1e-4, atol=1e-6)


def test_repeated_lbfgs_is_so_many_local_searches(counted):
    found = maximize(counted, BOUNDS, "repeated_lbfgs", 5, starts=3)
    first = maximize(counted, BOUNDS, "repeated_lbfgs", 5, starts=1)
    assert first.queries < found.queries
    assert first.value <= found.value
    objective = acquisition_objective(counted, BOUNDS)
    local_search(objective, found.x.numpy())
    assert -objective.best_value == pytest.approx(found.value, abs=1e-4)


def test_a_budget_cuts_exactly_inside_botorchs_line_searches(counted):
    for budget in (7, 101, 113):
        counted.rows = 0
        assert maximize(counted, BOUNDS, "optimize_acqf", 0, budget=budget).queries == counted.rows == budget
