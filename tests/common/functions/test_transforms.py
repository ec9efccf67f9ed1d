"""Shifted, rotated, scaled and noisy functions: the formula, folds alone and in a batch, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.functions import (
    FUNCTIONS,
    Noisy,
    OptimumError,
    Rastrigin,
    Rotated,
    Scaled,
    Schwefel,
    Shifted,
    make_function,
    random_rotation,
)
from common.training.keys import torch_generator

WHOLE_SPACE = [name for name, function in FUNCTIONS.items() if function._region == (-math.inf, math.inf)]
FOLDS = 3


def instance(name):
    return make_function(name, None if hasattr(FUNCTIONS[name], "dim") else 4)


def draw(*shape, key="x"):
    return 2 * torch.rand(*shape, generator=torch_generator(0, key), dtype=torch.float64) - 1


def small_shifts(function, *folds):
    """Shifts that leave the first optimizer in the box."""
    low, high = function.bounds - function.optimizers[0]
    return torch.lerp(low, high, (draw(*folds, function.dim, key="shift") + 1) / 2) * 0.9


def rotations(dim):
    return torch.stack([random_rotation(seed, dim) for seed in range(FOLDS)])


def points(function, *batch):
    half = (function.bounds[1] - function.bounds[0]) / 2
    return function.bounds.mean(0) + half * draw(*batch, function.dim)


@pytest.mark.parametrize("name", WHOLE_SPACE)
def test_shifted_and_rotated_equal_the_formula(name):
    function = instance(name)
    shift, R = small_shifts(function), random_rotation(1, function.dim)
    X = points(function, 20)
    best = function.optimizers[0]
    expected = [function(R @ (x - shift - best) + best) for x in X]
    for moved in (Shifted(Rotated(function, R), shift), Rotated(Shifted(function, shift), R)):
        torch.testing.assert_close(moved(X), torch.stack(expected), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(moved(X[0]), expected[0], rtol=1e-9, atol=1e-9)
        assert moved.bounds.equal(function.bounds)
        assert moved.optimal_value == function.optimal_value
        assert moved.dim == function.dim


@pytest.mark.parametrize("name", WHOLE_SPACE)
def test_every_fold_alone_equals_the_batch(name):
    function = instance(name)
    shifts, R = small_shifts(function, FOLDS), rotations(function.dim)
    X = points(function, FOLDS, 6)
    batches = [
        Shifted(function, shifts),
        Rotated(function, R),
        Shifted(Rotated(function, R), shifts),
        Rotated(Shifted(function, shifts), R),
        Rotated(Shifted(function, shifts), R[0]),
        Shifted(Rotated(function, R), shifts[0] * 0),
        Scaled(Shifted(Rotated(function, R), shifts), 2.0, [1.0, 0.0, -3.0]),
        Scaled(function, [0.5, 1.0, 2.0], 0.25),
        Shifted(Scaled(Rotated(function, R), 3.0, 1.0), shifts),
        Noisy(Shifted(Rotated(function, R), shifts), std=0.5, seed=3),
    ]
    for batch in batches:
        values = batch(X)
        assert values.shape == (FOLDS, 6)
        assert batch.folds == FOLDS
        for i in range(FOLDS):
            alone = batch.fold(i)
            assert alone.folds is None
            torch.testing.assert_close(alone(X[i]), values[i], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(alone.optimizers, batch.optimizers[i])
        torch.testing.assert_close(batch.fold(-1).optimizers, batch.optimizers[-1])


@pytest.mark.parametrize("name", WHOLE_SPACE)
def test_moved_optimizers_have_the_optimal_value(name):
    function = instance(name)
    moved = Rotated(Shifted(function, small_shifts(function, FOLDS)), rotations(function.dim))
    assert moved.optimizers.shape == (FOLDS, *function.optimizers.shape)
    values = moved(moved.optimizers)
    torch.testing.assert_close(values, torch.full_like(values, function.optimal_value), rtol=1e-10, atol=1e-10)
    low, high = moved.bounds
    assert ((moved.optimizers >= low) & (moved.optimizers <= high)).all(-1).any(-1).all()
    assert moved(points(function, FOLDS, 2000)).min() >= function.optimal_value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_input_and_gradients_flow(dtype):
    moved = Noisy(Rotated(Shifted(Rastrigin(4), small_shifts(Rastrigin(4), FOLDS)), rotations(4)), 0.1, seed=0)
    X = points(Rastrigin(4), FOLDS, 5).to(dtype).requires_grad_()
    values = moved(X)
    assert values.dtype == dtype
    (grad,) = torch.autograd.grad(values.sum(), X)
    (noiseless,) = torch.autograd.grad(moved.evaluate_true(X).sum(), X)
    assert grad.isfinite().all()
    torch.testing.assert_close(grad, noiseless)


@given(seed=st.integers(0, 2**32), dim=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_random_rotation_is_orthogonal_and_keyed(seed, dim):
    R = random_rotation(seed, dim)
    torch.testing.assert_close(R @ R.T, torch.eye(dim, dtype=torch.float64), atol=1e-12, rtol=0)
    assert R.equal(random_rotation(seed, dim))


def test_random_rotation_is_haar():
    entries = torch.stack([random_rotation(seed, 3) for seed in range(3000)])
    torch.testing.assert_close(entries.mean(0), torch.zeros(3, 3, dtype=torch.float64), atol=0.06, rtol=0)
    torch.testing.assert_close(entries.square().mean(0), torch.full((3, 3), 1 / 3).double(), atol=0.03, rtol=0)


@given(
    a=st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    b=st.lists(st.floats(-1, 1), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_shifts_add_and_a_rotation_is_undone_by_its_transpose(a, b, seed):
    function, X = Rastrigin(2), points(Rastrigin(2), 5)
    total = [p + q for p, q in zip(a, b, strict=True)]
    torch.testing.assert_close(Shifted(Shifted(function, a), b)(X), Shifted(function, total)(X), rtol=1e-9, atol=1e-9)
    R, shifted = random_rotation(seed, 2), Shifted(function, a)
    torch.testing.assert_close(Rotated(Rotated(shifted, R), R.T)(X), shifted(X), rtol=1e-9, atol=1e-9)


@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-1e6, 1e6))
@settings(max_examples=30, deadline=None)
def test_scaled_is_affine_undone_by_its_inverse_and_moves_the_optimal_value(factor, offset):
    function, X = make_function("branin"), points(make_function("branin"), 5)
    scaled = Scaled(function, factor, offset)
    torch.testing.assert_close(scaled(X), factor * function(X) + offset, rtol=1e-14, atol=0)
    torch.testing.assert_close(scaled(scaled.optimizers[:1]).item(), scaled.optimal_value, rtol=1e-12, atol=1e-12)
    assert isinstance(scaled.optimal_value, float)
    assert scaled.optimizers.equal(function.optimizers)
    back = Scaled(scaled, 1 / factor, -offset / factor)
    torch.testing.assert_close(back(X), function(X), rtol=1e-9, atol=1e-12 * (1 + abs(offset) / factor))


def test_scaled_folds_have_their_own_optimal_values():
    factor, offset = torch.tensor([0.5, 1.0, 2.0]).double(), torch.tensor([3.0, 0.0, -1.0]).double()
    inner = Rotated(make_function("branin"), torch.eye(2).repeat(FOLDS, 1, 1))
    batch = Scaled(Noisy(inner, 0.1, seed=5), factor, offset)
    assert batch.optimal_value.equal(factor * make_function("branin").optimal_value + offset)
    assert [batch.fold(i).optimal_value for i in range(FOLDS)] == batch.optimal_value.tolist()
    X = points(batch, FOLDS, 2000)
    noise = (batch(X) - batch.evaluate_true(X)).std(1)  # scaled with the function
    torch.testing.assert_close(noise, 0.1 * factor, rtol=0.1, atol=0)
    assert (batch.evaluate_true(X) >= batch.optimal_value[:, None]).all()


@given(shift=st.floats(-300, 200))
@settings(max_examples=60, deadline=None)
def test_schwefel_shifts_are_accepted_exactly_where_the_regret_stays_positive(shift):
    function = Schwefel(1)
    grid = torch.linspace(-500, 500, 20_001, dtype=torch.float64)[:, None]
    lowest = function(grid - shift).min().item()
    if -166.29 <= shift <= 25.09:
        assert lowest >= 0
        assert Shifted(function, [shift])(grid).min().item() == lowest
    elif not -166.31 <= shift <= 25.11:
        with pytest.raises(OptimumError, match=r"Shifted\(Schwefel\).*legal shifts are in \[-166\.2994, 25\.09626\]"):
            Shifted(function, [shift])
        assert lowest < 0 or not -920 <= shift <= 79


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: Shifted(f, [250.0] * 3), r"Shifted\(Schwefel\): no optimum in the box \[-500.0, 500.0\], it is at"),
        (lambda f: Shifted(f, [[0.0] * 3, [60.0] * 3]), r"Shifted\(Schwefel\): needs values .* on \[-560.0, 440.0\]"),
        (lambda f: Shifted(Shifted(f, [20.0] * 3), [20.0] * 3), r"legal shifts are in \[-186.2994, 5.096263\]"),
        (lambda f: Shifted(f, [float("nan")] * 3), "no optimum"),
        (lambda f: Rotated(f, random_rotation(0, 3)), r"Rotated\(Schwefel\): needs values .* only on \[-525.0963, 666"),
        (lambda f: Shifted(Rotated(f, torch.eye(3)), [1.0] * 3), r"Shifted\(Rotated\(Schwefel\)\): needs values"),
    ],
)
def test_moves_that_make_the_optimum_wrong_are_refused(make, message):
    with pytest.raises(OptimumError, match=message):
        make(Schwefel(3))


def test_moves_that_keep_the_box_are_legal_where_only_the_box_is_known():
    function = make_function("michalewicz", 2)
    X = points(function, 10)
    torch.testing.assert_close(Shifted(function, [0.0, 0.0])(X), function(X))
    torch.testing.assert_close(Rotated(function, torch.eye(2))(X), function(X))
    with pytest.raises(OptimumError, match="Michalewicz"):
        Shifted(function, [0.01, 0.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: Shifted(f, [0.1]), "shift must have shape 2 or F x 2"),
        (lambda f: Rotated(f, torch.ones(2, 2)), "orthogonal"),
        (lambda f: Rotated(f, torch.eye(3)), "rotation must have shape 2 x 2"),
        (lambda f: Rotated(Shifted(f, torch.zeros(3, 2)), torch.eye(2).repeat(2, 1, 1)), "2 folds about .* 3 folds"),
        (lambda f: Shifted(f, torch.zeros(3, 2))(torch.zeros(5, 2)), "3 x n x d"),
        (lambda f: Shifted(f, [0.0, 0.0]).fold(0), "no folds"),
        (lambda f: Scaled(f, 0.0, 1.0), "factor must be above 0"),
        (lambda f: Scaled(f, [1.0, -1.0], 0.0), "factor must be above 0"),
        (lambda f: Scaled(f, 1.0, float("inf")), "finite"),
        (lambda f: Scaled(f, [1.0, 2.0], [0.0] * 3), r"numbers or F each, not \[2\] and \[3\]"),
        (lambda f: Scaled(Shifted(f, torch.zeros(3, 2)), [1.0, 2.0], 0.0), "2 folds about .* 3 folds"),
        (lambda f: Scaled(f, 1.0, 0.0).fold(0), "no folds"),
        (lambda f: Noisy(f, -1.0, seed=0), "std"),
    ],
)
def test_wrong_shapes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(Rastrigin(2))


def test_the_rotation_is_about_an_optimizer_that_is_in_the_box():
    shifted = Shifted(make_function("branin"), [7.0, 0.0])  # the third minimiser leaves the box
    rotated = Rotated(Shifted(shifted, [-12.0, 3.0]), random_rotation(0, 2))  # and then the first
    low, high = rotated.bounds
    inside = ((rotated.optimizers >= low) & (rotated.optimizers <= high)).all(-1)
    assert inside[1]


def test_noise_is_gaussian_keyed_by_call_and_leaves_the_true_value():
    function = Rastrigin(2)
    X = points(function, 4000)
    noisy, again = Noisy(function, 0.5, seed=7), Noisy(function, 0.5, seed=7)
    first, second = noisy(X) - function(X), noisy(X) - function(X)
    assert noisy.calls == 2
    assert first.mean().abs() < 0.03
    assert (first.std() - 0.5).abs() < 0.02
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 0.05
    torch.testing.assert_close(again(X) - function(X), first)
    torch.testing.assert_close(noisy.evaluate_true(X), function(X))
    resumed = Noisy(function, 0.5, seed=7)
    resumed.calls = 1
    torch.testing.assert_close(resumed(X) - function(X), second)


def test_global_random_state_is_neither_read_nor_changed():
    before = torch.get_rng_state()
    random_rotation(0, 3)
    Noisy(Rastrigin(2), 1.0, seed=0)(torch.zeros(5, 2))
    assert torch.get_rng_state().equal(before)
