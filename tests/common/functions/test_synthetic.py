"""Every test function of the registry against NumPy formulas written from the literature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from botorch.test_functions import synthetic as botorch_functions
from scipy.optimize import minimize

from common.functions import FUNCTIONS, OptimumError, Schwefel, SyntheticFunction, make_function
from common.training.keys import torch_generator

HARTMANN = {
    3: ([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]],
        [[0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]]),
    6: ([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]],
        [[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886], [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
         [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650], [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]]),
}  # fmt: skip
SHEKEL = np.array(
    [[4, 4, 4, 4, 0.1], [1, 1, 1, 1, 0.2], [8, 8, 8, 8, 0.2], [6, 6, 6, 6, 0.4], [3, 7, 3, 7, 0.4],
     [2, 9, 2, 9, 0.6], [5, 5, 3, 3, 0.3], [8, 1, 8, 1, 0.7], [6, 2, 6, 2, 0.5], [7, 3.6, 7, 3.6, 0.5]]
)  # fmt: skip


def rastrigin(x):
    return 10 * len(x) + np.sum(x**2 - 10 * np.cos(2 * np.pi * x))


def ackley(x):
    return -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e


def styblinski_tang(x):
    return 0.5 * np.sum(x**4 - 16 * x**2 + 5 * x) + 39.16616570377142 * len(x)


def schwefel(x):
    return 418.9828872724338 * len(x) - np.sum(x * np.sin(np.sqrt(np.abs(x))))


def alpine1(x):
    return np.sum(np.abs(x * np.sin(x) + 0.1 * x))


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def griewank(x):
    return np.sum(x**2) / 4000 - np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))) + 1


def levy(x):
    w = 1 + (x - 1) / 4
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    return np.sin(np.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)


def michalewicz(x):
    i = np.arange(1, len(x) + 1)
    return -np.sum(np.sin(x) * np.sin(i * x**2 / np.pi) ** 20)


def shubert(x):
    return np.prod([sum(j * np.cos((j + 1) * xi + j) for j in range(1, 6)) for xi in x])


def branin(x):
    b, c, t = 5.1 / (4 * np.pi**2), 5 / np.pi, 1 / (8 * np.pi)
    return (x[1] - b * x[0] ** 2 + c * x[0] - 6) ** 2 + 10 * (1 - t) * np.cos(x[0]) + 10


def goldstein_price(x):
    a, b = x
    first = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    return first * (30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2))


def three_hump_camel(x):
    a, b = x
    return 2 * a**2 - 1.05 * a**4 + a**6 / 6 + a * b + b**2


def six_hump_camel(x):
    a, b = x
    return (4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (-4 + 4 * b**2) * b**2


def hartmann(x):
    curvature, centers = map(np.array, HARTMANN[len(x)])
    return -np.array([1, 1.2, 3, 3.2]) @ np.exp(-np.sum(curvature * (x - centers) ** 2, axis=1))


def shekel(m):
    return lambda x: -sum(1 / (np.sum((x - row[:4]) ** 2) + row[4]) for row in SHEKEL[:m])


REFERENCES = {
    "rastrigin": rastrigin,
    "ackley": ackley,
    "styblinski_tang": styblinski_tang,
    "schwefel": schwefel,
    "alpine1": alpine1,
    "rosenbrock": rosenbrock,
    "griewank": griewank,
    "levy": levy,
    "michalewicz": michalewicz,
    "shubert": shubert,
    "branin": branin,
    "goldstein_price": goldstein_price,
    "three_hump_camel": three_hump_camel,
    "six_hump_camel": six_hump_camel,
    "hartmann3": hartmann,
    "hartmann6": hartmann,
    "shekel5": shekel(5),
    "shekel7": shekel(7),
    "shekel10": shekel(10),
}
PUBLISHED = {  # optimal values as the literature prints them
    "shubert": -186.7309,
    "branin": 0.397887,
    "goldstein_price": 3,
    "six_hump_camel": -1.0316,
    "hartmann3": -3.86278,
    "hartmann6": -3.32237,
    "shekel5": -10.1532,
    "shekel7": -10.4029,
    "shekel10": -10.5364,
}


def free(name: str) -> bool:
    return not hasattr(FUNCTIONS[name], "dim")


def instance(name: str) -> SyntheticFunction:
    return make_function(name, 5 if free(name) else None)


def box_points(function: SyntheticFunction, n: int, scale: float = 1.0) -> torch.Tensor:
    """Uniform points in the box, or in the box stretched ``scale`` times about its middle."""
    u = torch.rand(n, function.dim, generator=torch_generator(0, "points", function.dim), dtype=torch.float64)
    low, high = function.bounds
    return (low + high) / 2 + scale * (u - 0.5) * (high - low)


def gradient(function: SyntheticFunction, X: torch.Tensor) -> torch.Tensor:
    X = X.clone().requires_grad_()
    return torch.autograd.grad(function(X).sum(), X)[0]


every_function = pytest.mark.parametrize("name", FUNCTIONS)


def test_every_function_has_a_reference():
    assert list(REFERENCES) == list(FUNCTIONS)


@every_function
def test_values_equal_the_reference(name):
    function = instance(name)
    X = box_points(function, 200)
    expected = [REFERENCES[name](x) for x in X.numpy()]
    np.testing.assert_allclose(function(X).numpy(), expected, rtol=1e-11, atol=1e-11)


@every_function
def test_gradients_equal_central_differences_of_the_reference(name):
    function, reference = instance(name), REFERENCES[name]
    X = box_points(function, 20)
    step = 1e-6 * (function.bounds[1] - function.bounds[0]).numpy()
    expected = [
        [(reference(x + h) - reference(x - h)) / (2 * h.sum()) for h in np.diag(step)] for x in X.numpy()
    ]  # fmt: skip
    scale = np.abs(expected).max()
    np.testing.assert_allclose(gradient(function, X).numpy(), expected, rtol=2e-5, atol=1e-6 * scale)


@every_function
def test_optimizers_have_the_optimal_value_and_a_vanishing_gradient(name):
    function = instance(name)
    assert isinstance(function.optimal_value, float)
    values = function(function.optimizers)
    torch.testing.assert_close(values, torch.full_like(values, function.optimal_value), rtol=1e-14, atol=1e-12)
    if name not in ("ackley", "alpine1"):  # these have a kink there
        assert gradient(function, function.optimizers).abs().max() < 1e-10 * max(1, 1e2 * abs(function.optimal_value))
    for point in function.optimizers:
        assert REFERENCES[name](point.numpy()) == pytest.approx(function.optimal_value, abs=1e-10)


@pytest.mark.parametrize("name", PUBLISHED)
def test_optimal_value_is_the_published_one(name):
    assert instance(name).optimal_value == pytest.approx(PUBLISHED[name], abs=6e-5)


@every_function
def test_no_value_in_the_box_is_below_the_optimum(name):
    function = instance(name)
    assert function(box_points(function, 10_000)).min() >= function.optimal_value
    near = function.optimizers[0] + 1e-3 * (box_points(function, 10_000) - function.bounds.mean(0))
    assert function(near).min() >= function.optimal_value - 1e-12 * max(1, abs(function.optimal_value))


@every_function
def test_no_value_in_the_stated_region_is_below_the_optimum(name):
    function = instance(name)
    if function.region.isinf().all():
        for scale in (2, 10, 1000):
            assert function(box_points(function, 20_000, scale)).min() >= function.optimal_value
    else:
        assert function.region.isfinite().all()
        u = torch.rand(50_000, function.dim, generator=torch_generator(1, "region"), dtype=torch.float64)
        assert function(torch.lerp(function.region[0], function.region[1], u)).min() >= function.optimal_value


@every_function
def test_descents_from_far_outside_do_not_end_below_the_optimum(name):
    function = instance(name)
    if not function.region.isinf().all():
        return

    def value_and_gradient(x):
        X = torch.from_numpy(x)[None].requires_grad_()
        value = function(X)
        return value.item(), torch.autograd.grad(value, X)[0][0].numpy()

    for start in box_points(function, 15, scale=3).numpy():
        lowest = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B").fun
        assert lowest >= function.optimal_value - 1e-12 * max(1, abs(function.optimal_value))


def test_schwefel_region_is_as_large_as_can_be():
    function = Schwefel(1)
    grid = torch.linspace(*function.region[:, 0].tolist(), 2_000_001, dtype=torch.float64)[:, None]
    assert function(grid).min() >= -1e-10
    low, high = function.region
    assert function(low - 0.01).item() < 0
    assert function(high + 0.01).item() < 0


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_shape", [(), (1,), (7,), (2, 3), (2, 1, 4)])
def test_dtype_and_batch_shape_follow_the_input(name, dtype, batch_shape):
    function = instance(name)
    X = box_points(function, math.prod(batch_shape))
    batch = X.reshape(*batch_shape, function.dim).to(dtype)
    values = function(batch)
    assert (values.shape, values.dtype) == (batch_shape, dtype)
    assert function.bounds.dtype == function.optimizers.dtype == torch.float64
    loose = 1e-3 * (1 + function(X).abs().max().item()) if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(values.double().reshape(-1), function(X), rtol=1e-12, atol=loose)


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(name, dtype):
    function = instance(name)
    low, high = function.bounds
    special = torch.stack([low, high, (low + high) / 2, torch.zeros_like(low), low * 0 + 1e-300, low * 0 - 1e-40])
    X = torch.cat([special, function.optimizers, box_points(function, 1000)]).to(dtype)
    assert gradient(function, X).isfinite().all()


@pytest.mark.parametrize("name", ["ackley", "schwefel", "alpine1"])
def test_gradient_at_the_kink_is_zero_and_the_value_exact(name):
    function = make_function(name, 3, (-500, 500))
    origin = torch.zeros(1, 3, dtype=torch.float64)
    torch.testing.assert_close(gradient(function, origin), origin, atol=1e-100, rtol=0)
    assert function(origin).item() == pytest.approx(REFERENCES[name](np.zeros(3)), abs=1e-12)


def test_schwefel_gradient_where_one_coordinate_is_zero():
    function = make_function("schwefel", 2)
    grad = gradient(function, torch.tensor([[0.0, 100.0]], dtype=torch.float64))
    assert grad[0, 0].abs() < 1e-100
    assert grad[0, 1].item() == pytest.approx(-math.sin(10) - 5 * math.cos(10))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("rastrigin", botorch_functions.Rastrigin(dim=5)),
        ("ackley", botorch_functions.Ackley(dim=5)),
        ("rosenbrock", botorch_functions.Rosenbrock(dim=5)),
        ("griewank", botorch_functions.Griewank(dim=5)),
        ("levy", botorch_functions.Levy(dim=5)),
        ("michalewicz", botorch_functions.Michalewicz(dim=5)),
        ("branin", botorch_functions.Branin()),
        ("three_hump_camel", botorch_functions.ThreeHumpCamel()),
        ("six_hump_camel", botorch_functions.SixHumpCamel()),
        ("hartmann3", botorch_functions.Hartmann(dim=3)),
        ("hartmann6", botorch_functions.Hartmann(dim=6)),
        ("shekel5", botorch_functions.Shekel(m=5)),
    ],
)
def test_values_and_default_box_agree_with_botorch(name, theirs):
    function = instance(name)
    torch.testing.assert_close(function.bounds, theirs.bounds)
    X = box_points(function, 100)
    torch.testing.assert_close(function(X), theirs(X), rtol=1e-6, atol=1e-6)  # its constants are float32
    assert function.optimal_value == pytest.approx(theirs.optimal_value, abs=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 3, 10, 30])
def test_michalewicz_minimum_is_found_for_every_dimension(dim):
    function = make_function("michalewicz", dim)
    x = np.linspace(0, np.pi, 200_001)
    best = sum((-np.sin(x) * np.sin(i * x**2 / np.pi) ** 20).min() for i in range(1, dim + 1))
    assert function.optimal_value == pytest.approx(best, abs=1e-5 * dim)
    assert function.optimal_value <= best + 1e-12
    known = {2: -1.80130341, 10: -9.66015}
    if dim in known:
        assert function.optimal_value == pytest.approx(known[dim], abs=5e-6)


def test_wrong_basin_of_styblinski_tang_costs_14_per_coordinate():
    x = torch.full((1, 1), 2.7468027709908369, dtype=torch.float64)
    assert make_function("styblinski_tang", 1)(x).item() == pytest.approx(14.13672, abs=1e-5)


def test_bounds_are_a_pair_or_two_rows():
    expected = torch.tensor([[-3.0, -3.0], [3.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(make_function("rastrigin", 2, (-3, 3)).bounds, expected)
    torch.testing.assert_close(make_function("rastrigin", 2, expected).bounds, expected)
    torch.testing.assert_close(make_function("branin", bounds=[[-5, 0], [12, 16]]).bounds[1].tolist(), [12.0, 16.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sphere",), "unknown function 'sphere'; known are rastrigin, ackley"),
        (("branin", 3), "branin has 2 variables, not 3"),
        (("hartmann6", 3), "hartmann6 has 6 variables"),
        (("rastrigin", 0), "dim"),
        (("rastrigin", 2.5), "dim"),
        (("rosenbrock", 1), "dim >= 2"),
        (("rastrigin", 2, (3, -3)), "not below"),
        (("rastrigin", 3, [[-1, -1], [1, 1]]), "2 variables, dim says 3"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_function(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ackley", 2, (1, 4)), r"Ackley: no optimum in the box \[1.0, 4.0\], it is at \[0.0\]"),
        (("schwefel", 2, (-1000, 1000)), r"Schwefel: needs values .* only on \[-525.0963, 666.2994\]"),
        (("michalewicz", 2, (0, 4)), "Michalewicz: needs values"),
    ],
)
def test_a_box_in_which_the_optimum_would_be_wrong_is_refused(arguments, message):
    with pytest.raises(OptimumError, match=message):
        make_function(*arguments)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="Branin has 2 variables"):
        make_function("branin")(torch.zeros(4, 3))


def test_values_outside_the_box_are_the_formula():
    x = torch.tensor([[7.0, -9.0]], dtype=torch.float64)
    assert make_function("rastrigin")(x).item() == pytest.approx(rastrigin(x.numpy()[0]))
