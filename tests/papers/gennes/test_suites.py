from __future__ import annotations

from itertools import combinations

import pytest
import torch

from common.functions import Shifted, make_function, random_rotation
from common.functions.base import OptimumError
from common.training.keys import torch_generator
from papers.gennes.problems import HALF_WIDTHS, fold_seeds
from papers.gennes.suites import FACTOR, OFFSET, SCHWEFEL_SHIFTS, SUITE_HALF_WIDTHS, suite_problem

DIM, FOLDS = 5, 5
SEEDS = fold_seeds(3, FOLDS)
PAPER = ["rastrigin", "ackley", "styblinski_tang", "schwefel"]
TURNABLE = ["rastrigin", "ackley", "styblinski_tang", "griewank", "levy"]
PROBLEMS = [
    *(("paper", name) for name in PAPER),
    *(("shifted", name) for name in [*TURNABLE, "schwefel"]),
    *((suite, name) for suite in ("rotated", "wide", "scaled") for name in TURNABLE),
]
every_problem = pytest.mark.parametrize(("suite", "name"), PROBLEMS)


def uniform(bounds, n=2000):
    """Return points ``FOLDS x n x d`` of a box."""
    unit = torch.rand(FOLDS, n, DIM, generator=torch_generator(0, "points"), dtype=torch.float64)
    return bounds[0] + (bounds[1] - bounds[0]) * unit


def unit_of(suite):
    return FACTOR if suite == "scaled" else 1.0


@every_problem
def test_the_optimum_is_in_the_box_and_is_what_it_says(suite, name):
    problem = suite_problem(suite, name, DIM, SEEDS)
    optima = problem.optimizers[:, :1].clone().requires_grad_()
    assert ((optima > problem.bounds[0]) & (optima < problem.bounds[1])).all()
    values = problem(optima)
    unit = unit_of(suite)
    torch.testing.assert_close(values, torch.full_like(values, problem.optimal_value), rtol=0, atol=1e-11 * unit)
    if name != "ackley":  # a cusp
        (gradient,) = torch.autograd.grad(values.sum(), optima)
        assert gradient.abs().max() < 1e-9 * unit


@every_problem
def test_no_other_point_is_lower(suite, name):
    problem = suite_problem(suite, name, DIM, SEEDS)
    lower, upper = problem.bounds
    for spread in (1.0, 0.1, 1e-3):  # all of the box, and near the optimum
        points = problem.optimizers[:, :1] + spread * (uniform(problem.bounds) - (lower + upper) / 2)
        values = problem(points.clamp(lower, upper))
        assert values.min() >= problem.optimal_value - 1e-11 * unit_of(suite)
    assert problem(uniform(problem.bounds)).min() > problem.optimal_value


@pytest.mark.parametrize("shift", SCHWEFEL_SHIFTS)
def test_schwefel_keeps_its_minimum_at_the_ends_of_its_shifts(shift):
    line = Shifted(make_function("schwefel", 1, bounds=(-500, 500)), [shift])
    values = line(torch.linspace(-500, 500, 100_001, dtype=torch.float64)[:, None])
    assert 0 <= values.min() < 1e-3
    assert abs(values.argmin() / 100 - 500 - line.optimizers.item()) < 0.02


@every_problem
def test_a_fold_is_keyed_by_its_seed_alone(suite, name):
    problem, alone = suite_problem(suite, name, DIM, SEEDS), suite_problem(suite, name, DIM, SEEDS[3:4])
    points = uniform(problem.bounds, 20)
    assert torch.equal(alone.optimizers, problem.optimizers[3:4])
    torch.testing.assert_close(alone(points[3:4]), problem(points)[3:4], rtol=1e-13, atol=0)
    torch.testing.assert_close(problem.fold(3)(points[3]), problem(points)[3], rtol=1e-13, atol=0)
    for a, b in combinations(range(FOLDS), 2):
        assert (problem.optimizers[a] - problem.optimizers[b]).abs().max() > 1e-2
        assert not torch.isclose(problem.fold(a)(points[0]), problem.fold(b)(points[0])).all()


@pytest.mark.parametrize("name", TURNABLE)
def test_rotated_is_shifted_turned_about_the_optimum(name):
    rotated, shifted = (suite_problem(suite, name, DIM, SEEDS) for suite in ("rotated", "shifted"))
    optima = shifted.optimizers[:, :1]
    torch.testing.assert_close(rotated.optimizers[:, :1], optima, rtol=0, atol=0)
    torch.testing.assert_close(rotated.bounds, shifted.bounds, rtol=0, atol=0)
    offsets = uniform(rotated.bounds, 50) - optima
    turned = offsets @ torch.stack([random_rotation(seed, DIM) for seed in SEEDS]).mT
    torch.testing.assert_close(turned.norm(dim=-1), offsets.norm(dim=-1))
    torch.testing.assert_close(rotated(optima + offsets), shifted(optima + turned))
    assert torch.isclose(rotated(optima + offsets), shifted(optima + offsets)).double().mean() < 0.1


@pytest.mark.parametrize("name", TURNABLE)
def test_scaled_is_the_rotated_one_in_other_units(name):
    scaled, rotated = (suite_problem(suite, name, DIM, SEEDS) for suite in ("scaled", "rotated"))
    points = uniform(rotated.bounds, 50)
    torch.testing.assert_close(scaled(points), 1e4 * rotated(points) + 1e6, rtol=1e-14, atol=0)
    assert scaled.optimal_value == 1e4 * rotated.optimal_value + 1e6 == OFFSET
    assert torch.equal(scaled.bounds, rotated.bounds)
    assert torch.equal(scaled.optimizers, rotated.optimizers)


@pytest.mark.parametrize("name", TURNABLE)
def test_optima_are_in_the_inner_half_of_the_box_and_wide_is_ten_times_wider(name):
    wide, rotated = (suite_problem(suite, name, DIM, SEEDS) for suite in ("wide", "rotated"))
    half = SUITE_HALF_WIDTHS[name]
    assert torch.equal(wide.bounds, 10 * rotated.bounds)
    torch.testing.assert_close(wide.optimizers[:, 0], 10 * rotated.optimizers[:, 0])
    assert 0.8 * half / 2 < rotated.optimizers[:, 0].abs().max() <= half / 2


def test_in_the_paper_s_suite_the_optimum_is_within_a_half_of_the_plain_one():
    for name in PAPER:
        plain = make_function(name, DIM, bounds=(-HALF_WIDTHS[name], HALF_WIDTHS[name]))
        shift = suite_problem("paper", name, DIM, SEEDS).optimizers[:, 0] - plain.optimizers[0]
        assert 0.4 < shift.abs().max() <= 0.5


@pytest.mark.parametrize(
    ("suite", "name", "error", "message"),
    [
        ("tilted", "ackley", ValueError, "suites are paper, shifted, .* not 'tilted'"),
        ("shifted", "sphere", ValueError, "functions are rastrigin, .* not 'sphere'"),
        ("paper", "griewank", ValueError, "the paper's benchmark has .* not 'griewank'"),
        ("rotated", "schwefel", OptimumError, r"Rotated\(Shifted\(Schwefel\)\)"),
    ],
)
def test_errors_name_what_is_wrong(suite, name, error, message):
    with pytest.raises(error, match=message):
        suite_problem(suite, name, DIM, SEEDS)
