"""Random families: the stated minimum is the minimum, folds are keyed by their own seeds, and functions do differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.functions import OptimumError, Shifted
from common.functions.families import FAMILIES, sample_family
from common.objective import Objective
from common.optimizers.lbfgs import local_search
from common.training.keys import numpy_generator, torch_generator

SEEDS = [0, 1, 2]


def uniform(*shape, key="x"):
    return 2 * torch.rand(*shape, generator=torch_generator(0, key), dtype=torch.float64) - 1


def values_and_gradients(function, X):
    X = X.clone().requires_grad_()
    values = function(X)
    (gradients,) = torch.autograd.grad(values.sum(), X)
    return values.detach(), gradients


def regret(function):
    """Return the fold before scaling: its minimum is 0 exactly, so that tiny differences count."""
    return function.function


@pytest.mark.parametrize("dim", [1, 2, 5, 30])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_stated_optimum_has_the_stated_value_and_no_gradient(name, rotated, dim):
    batch = sample_family(name, dim, SEEDS, rotated, condition=100.0)
    assert batch.optimizers.shape == (len(SEEDS), 1, dim)
    assert batch.optimizers.abs().max() <= 0.5
    assert batch.bounds.tolist() == [[-1.0] * dim, [1.0] * dim]
    values, gradients = values_and_gradients(batch, batch.optimizers)
    assert values[:, 0].equal(batch.optimal_value)
    assert not gradients.any()
    assert (batch(uniform(len(SEEDS), 500, dim)) > batch.optimal_value[:, None]).all()


@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_search_finds_a_lower_value(name, rotated, dim):
    for seed in SEEDS:
        fold = sample_family(name, dim, [seed], rotated, condition=10.0).fold(0)
        objective = Objective(regret(fold), fold.bounds)
        assert objective(uniform(2000, dim)).min() > 0
        starts = numpy_generator(seed, "starts").uniform(-1, 1, (20, dim))
        near = fold.optimizers.numpy() + 0.01 * starts[:1]  # one in the basin itself: the optimum is isolated
        found = [local_search(objective, x, {"ftol": 0.0, "gtol": 1e-9}) for x in [*starts, *near]]
        assert min(result.fun for result in found) >= 0
        assert found[-1].fun < 1e-12
        for result in found:
            if result.fun < 1e-12:
                np.testing.assert_allclose(result.x, fold.optimizers[0], atol=1e-4)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_fold_is_a_function_of_its_seed_alone(name, rotated):
    batch = sample_family(name, 4, SEEDS, rotated, condition=10.0)
    X = uniform(len(SEEDS), 6, 4)
    values, gradients = values_and_gradients(batch, X)
    assert values.shape == (len(SEEDS), 6)
    assert sample_family(name, 4, SEEDS, rotated, condition=10.0)(X).equal(values)
    swapped = sample_family(name, 4, SEEDS[::-1], rotated, condition=10.0)
    torch.testing.assert_close(swapped(X.flip(0)).flip(0), values, rtol=1e-12, atol=1e-12)
    for i, seed in enumerate(SEEDS):
        for alone in (batch.fold(i), sample_family(name, 4, [seed], rotated, condition=10.0).fold(0)):
            assert alone.folds is None
            assert alone.optimal_value == batch.optimal_value[i].item()
            assert alone.optimizers.equal(batch.optimizers[i])
            value, gradient = values_and_gradients(alone, X[i])
            torch.testing.assert_close(value, values[i], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradient, gradients[i], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_functions_differ_in_scale_optimum_shape_and_rotation(name):
    batch = sample_family(name, 3, range(40), condition=10.0)
    X = uniform(1, 200, 3).expand(40, -1, -1)
    assert batch.factor.log10().min() < -2 < 2 < batch.factor.log10().max()
    assert (batch.offset / batch.factor).abs().max() <= 10
    assert len(batch.optimizers.unique(dim=0)) == 40
    # the same points about the optimum, so that only the shape is left
    shapes = torch.corrcoef(regret(batch)(X / 2 + batch.optimizers))
    assert shapes.min() < 0.8
    turned = sample_family(name, 3, range(40), rotated=True, condition=10.0)
    assert turned.optimizers.equal(batch.optimizers)
    assert turned.optimal_value.equal(batch.optimal_value)
    distance = (turned(X) - batch(X)).abs().amax(1) / batch(X).std(1)
    assert (distance > 0.05).all()


def test_cosines_are_separable_unless_rotated():
    """f(x + a e_1 + b e_2) - f(x + a e_1) - f(x + b e_2) + f(x) is 0 for a separable function."""
    x, (a, b) = uniform(1, 1, 3) / 2, torch.eye(3, dtype=torch.float64)[:2] / 3
    corners = torch.cat([x, x + a, x + b, x + a + b], dim=1).expand(9, -1, -1)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)
    mixed = {turn: regret(sample_family("cosine_series", 3, range(9), turn))(corners) @ signs for turn in (False, True)}
    assert mixed[False].abs().max() < 1e-14
    assert mixed[True].abs().min() > 1e-5


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_agree_with_finite_differences(name, rotated):
    batch = regret(sample_family(name, 3, SEEDS, rotated, condition=10.0))
    assert torch.autograd.gradcheck(batch, uniform(len(SEEDS), 4, 3).requires_grad_(), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", ["ridges", "gaussian_mixture"])
def test_the_condition_number_at_the_optimum(name, rotated):
    def conditions(condition):
        batch = regret(sample_family(name, 4, SEEDS, rotated, condition))
        hessians = [torch.autograd.functional.hessian(batch.fold(i), batch.optimizers[i]) for i in range(len(SEEDS))]
        spectra = torch.linalg.eigvalsh(torch.stack(hessians).view(-1, 4, 4))
        return spectra[:, -1] / spectra[:, 0]

    torch.testing.assert_close(conditions(1.0), torch.ones(len(SEEDS), dtype=torch.float64))
    measured = conditions(1e4)
    assert ((measured > 99.9) & (measured < 1.001e4)).all()
    assert len(measured.round().unique()) == len(SEEDS)
    torch.testing.assert_close(conditions(1e2), measured.sqrt())  # the same powers of the given number


def test_local_searches_succeed_always_never_and_in_between():
    for name in ("gaussian_mixture", "ridges"):  # in few variables already, the waves of the cosines are too many
        rates = []
        for seed in range(8):
            fold = sample_family(name, 3, [seed], condition=10.0).fold(0)
            objective = Objective(regret(fold), fold.bounds)
            starts = numpy_generator(seed, "starts").uniform(-1, 1, (10, 3))
            rates.append(np.mean([local_search(objective, x).fun < 1e-6 for x in starts]))
        assert min(rates) <= 0.6
        assert max(rates) == 1.0
        assert len(set(rates)) >= 3


@given(
    name=st.sampled_from(list(FAMILIES)),
    seed=st.integers(0, 2**40),
    dim=st.integers(1, 8),
    rotated=st.booleans(),
    condition=st.floats(1, 1e6),
    radius=st.floats(-12, 2),
)
@settings(max_examples=150, deadline=None)
def test_no_point_of_space_is_below_the_minimum(name, seed, dim, rotated, condition, radius):
    function = regret(sample_family(name, dim, [seed], rotated, condition).fold(0))
    X = function.optimizers + 10.0**radius * uniform(50, dim, key="direction")
    values, gradients = values_and_gradients(function, X)
    assert (values >= 0).all()
    assert values.isfinite().all()
    assert gradients.isfinite().all()


def test_float32_points_give_float32_values_and_global_random_state_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for name in FAMILIES:
        batch = sample_family(name, 3, SEEDS, rotated=True)
        X = uniform(len(SEEDS), 5, 3)
        assert batch(X.float()).dtype == torch.float32
        error = (batch(X.float()) - batch(X)).abs() / batch.factor[:, None]
        assert error.max() < 1e-4
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_families_can_be_shifted_within_the_box():
    batch = sample_family("ridges", 2, SEEDS)
    X = uniform(len(SEEDS), 5, 2)
    torch.testing.assert_close(Shifted(batch, [0.25, -0.25])(X), batch(X - torch.tensor([0.25, -0.25])))
    with pytest.raises(OptimumError, match="no optimum in the box"):
        Shifted(batch, [1.6, 0.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sample_family("splines", 2, [0]), "unknown family 'splines'; known are gaussian_mixture"),
        (lambda: sample_family("ridges", 0, [0]), "dim must be a positive integer"),
        (lambda: sample_family("ridges", 2, []), "at least one fold"),
        (lambda: sample_family("ridges", 2, [0], condition=0.5), "condition"),
        (lambda: sample_family("ridges", 2, [0], condition=float("nan")), "condition"),
        (lambda: regret(sample_family("ridges", 2, [0, 1]))(torch.zeros(5, 2)), "Ridges takes points 2 x n x 2"),
        (lambda: regret(sample_family("ridges", 2, [0]).fold(0))(torch.zeros(5, 3)), "takes points n x 2"),
        (lambda: regret(sample_family("ridges", 2, [0]).fold(0)).fold(0), "no folds"),
        (lambda: sample_family("ridges", 2, [0]).fold(0).fold(0), "no folds"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
