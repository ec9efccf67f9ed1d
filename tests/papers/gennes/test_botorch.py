"""The drop-in for BoTorch, run by BoTorch's own loop."""

from __future__ import annotations

import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, qLogExpectedImprovement
from botorch.exceptions.errors import UnsupportedError
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler

from papers.gennes.botorch import gen_candidates_gennes

SMALL = {"population": 4, "iterations": 6, "width": 16, "depth": 2}
BOUNDS = torch.tensor([[-1.0, 0.0, 2.0], [1.0, 3.0, 4.0]], dtype=torch.float64)


class Counted(torch.nn.Module):
    """An acquisition function that counts its rows, for BoTorch has no counter."""

    def __init__(self, acquisition):
        super().__init__()
        self.acquisition, self.rows, self.X_pending = acquisition, 0, None
        self.model = acquisition.model

    def forward(self, X):
        self.rows += len(X)
        return self.acquisition(X)

    def set_X_pending(self, X_pending):
        self.acquisition.set_X_pending(X_pending)


@pytest.fixture(scope="module")
def model():
    unit = torch.rand(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = BOUNDS[0] + (BOUNDS[1] - BOUNDS[0]) * unit
    Y = (torch.sin(3 * X) - X).sum(dim=1, keepdim=True)
    return SingleTaskGP((X - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0]), (Y - Y.mean()) / Y.std(), outcome_transform=None)


@pytest.fixture
def joint(model):
    sampler = SobolQMCNormalSampler(torch.Size([32]), seed=0)
    return qLogExpectedImprovement(model, model.train_targets.max(), sampler=sampler)


@pytest.fixture
def single(model):
    return LogExpectedImprovement(model, model.train_targets.max())


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def optimized(acquisition, q=1, **options):
    return optimize_acqf(
        acquisition, BOUNDS, q=q, num_restarts=3, raw_samples=8, gen_candidates=gen_candidates_gennes,
        **{"options": SMALL, **options},
    )  # fmt: skip


def inside(X):
    return torch.equal(X, X.clamp(*BOUNDS))


@pytest.mark.parametrize("q", [1, 3])
def test_botorchs_loop_returns_points_in_the_box_with_their_values(joint, q):
    X, value = optimized(joint, q=q)
    assert X.shape == (q, 3)
    assert inside(X)
    torch.testing.assert_close(joint(X[None])[0].detach(), value)


def test_every_restart_answers_on_request(single):
    X, values = optimized(single, return_best_only=False)
    assert X.shape == (3, 1, 3)
    torch.testing.assert_close(single(X).detach(), values)


@pytest.mark.parametrize("fixed", [{1: 0.25}, {0: -0.5, 2: 3.0}, {-1: 3.5}])
@pytest.mark.parametrize("q", [1, 2])
def test_fixed_features_are_kept(joint, fixed, q):
    X, value = optimized(joint, q=q, fixed_features=fixed)
    for index, wanted in fixed.items():
        assert (X[:, index] == wanted).all()
    assert inside(X)
    torch.testing.assert_close(joint(X[None])[0].detach(), value)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_features_are_fixed_by_restart_and_by_point(joint, shape):
    wanted = torch.linspace(0.1, 2.9, 6, dtype=torch.float64)[: torch.Size(shape).numel()].view(shape)
    starts = torch.lerp(*BOUNDS, torch.rand(3, 2, 3, dtype=torch.float64))
    X, _ = gen_candidates_gennes(starts, joint, *BOUNDS, options=SMALL, fixed_features={1: wanted})
    assert torch.equal(X[..., 1], wanted.view(3, -1).expand(3, 2))


def test_points_one_after_the_other_consider_those_that_are_pending(joint):
    X, values = optimized(joint, q=2, sequential=True)
    assert values.shape == (2,)
    assert inside(X)
    assert joint.X_pending is None


def test_queries_are_those_announced(single):
    counted = Counted(single)
    starts = BOUNDS.mean(0).expand(3, 1, 3)
    gen_candidates_gennes(starts, counted, *BOUNDS, options=SMALL)
    assert counted.rows == 3 + 3 * 4 * 6
    counted.rows = 0
    optimized(counted)
    assert counted.rows == 8 + 3 + 3 * 4 * 6


def test_no_restart_ends_below_its_start_and_more_iterations_never_end_lower(single):
    starts = torch.lerp(*BOUNDS, torch.rand(4, 1, 3, dtype=torch.float64))
    values = [single(starts).detach()]
    for iterations in (1, 5, 30):
        options = {**SMALL, "iterations": iterations, "annealing": 0.9, "lr": 1e-2}
        values.append(gen_candidates_gennes(starts, single, *BOUNDS, options=options)[1])
    assert (torch.stack(values).diff(dim=0) >= 0).all()
    assert (values[-1] > values[0]).any()


def test_it_finds_the_maximum_of_a_bowl():
    top = torch.tensor([0.3, 2.0, 2.5], dtype=torch.float64)
    starts = BOUNDS.mean(0).expand(1, 2, 3)
    X, value = gen_candidates_gennes(
        starts, lambda X: -(X - top).square().sum(dim=(1, 2)), *BOUNDS,
        options={"iterations": 150, "annealing": 0.95, "lr": 3e-3, "width": 32},
    )  # fmt: skip
    torch.testing.assert_close(X[0], top.expand(2, 3), atol=0.05, rtol=0)
    assert value.item() > -5e-3


def test_equal_calls_give_equal_candidates_and_leave_the_global_generator_alone(single):
    starts = BOUNDS.mean(0).expand(2, 1, 3)
    state = torch.get_rng_state()
    first, second = (gen_candidates_gennes(starts, single, *BOUNDS, options=SMALL) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], second[0])
    moved = gen_candidates_gennes(starts + 0.1, single, *BOUNDS, options=SMALL)
    assert not torch.equal(first[0], moved[0])


def test_single_precision_stays_in_the_box():
    bounds = BOUNDS.float()
    starts = bounds.mean(0).expand(2, 1, 3)
    X, values = gen_candidates_gennes(starts, lambda X: X.sum(dim=(1, 2)), *bounds, options=SMALL)
    assert X.dtype == values.dtype == torch.float32
    assert torch.equal(X, X.clamp(*bounds))


def test_a_spent_timeout_leaves_the_start(single):
    starts = BOUNDS.mean(0).expand(2, 1, 3)
    X, values = gen_candidates_gennes(starts, single, *BOUNDS, options=SMALL, timeout_sec=0.0)
    assert torch.equal(X, starts)
    torch.testing.assert_close(values, single(starts).detach())


@pytest.mark.parametrize(
    ("name", "constraint"),
    [
        ("inequality_constraints", [(torch.tensor([0]), torch.ones(1, dtype=torch.float64), 0.0)]),
        ("equality_constraints", [(torch.tensor([0]), torch.ones(1, dtype=torch.float64), 0.0)]),
    ],
)
def test_constraints_are_refused_by_name(single, name, constraint):
    with pytest.raises(UnsupportedError, match=f"not to {name}"):
        optimized(single, **{name: constraint})


def test_a_box_and_known_options_are_needed(single):
    starts = BOUNDS.mean(0).expand(1, 1, 3)
    with pytest.raises(ValueError, match="finite lower_bounds"):
        gen_candidates_gennes(starts, single)
    with pytest.raises(TypeError, match="maxiter"):
        gen_candidates_gennes(starts, single, *BOUNDS, options={"maxiter": 3})
