"""Annealing, basin hopping and evolution against direct calls of SciPy, query by query."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import scipy.optimize
import torch

from common.objective import Objective, ObjectiveError
from common.optimizers.annealing import DualAnnealing
from common.optimizers.base import Optimizer
from common.optimizers.basinhopping import BasinHopping, BoxHop
from common.optimizers.evolution import DifferentialEvolution
from common.training.keys import numpy_generator

METHODS = [DualAnnealing, BasinHopping, DifferentialEvolution]


class Rugged:
    """A rugged bowl in SciPy's style, with the list of its calls: (whether for the gradient, point)."""

    def __init__(self, limit: float = math.inf):
        self.calls: list[tuple[bool, bytes]] = []
        self.limit = limit

    def _log(self, gradient, x):
        if len(self.calls) >= self.limit:
            raise EOFError
        self.calls.append((gradient, x.tobytes()))

    def value(self, x):
        self._log(False, x)
        return float(((x - 0.3) ** 2 + 2 - 2 * np.cos(9 * (x - 0.3))).sum())

    def gradient(self, x):
        self._log(True, x)
        return 2 * (x - 0.3) + 18 * np.sin(9 * (x - 0.3))

    def run(self, optimizer: Optimizer, bounds, budget, dim=2):
        objective = Objective(self.value, bounds, dim=dim, jac=self.gradient, vectorized=False)
        result = optimizer.minimize(objective, budget, rng=3)
        assert (result.nfev, result.status) == (budget, 1)
        assert result.nfev == len(queries(self.calls))
        return result


def queries(calls):
    """Join the call for a value and the call for the gradient that follows it at the same point."""
    joined = []
    for gradient, x in calls:
        if gradient:
            assert joined[-1] == (False, x)
            joined[-1] = (True, x)
        else:
            joined.append((False, x))
    return joined


def rugged_batch(X):
    return ((X - 0.3) ** 2 + 2 - 2 * torch.cos(9 * (X - 0.3))).sum(1)


@pytest.mark.parametrize("options", [{}, {"maxiter": 40, "visit": 2.5, "initial_temp": 300.0}])
def test_annealing_is_scipys_and_repeats_no_search(options):
    budget, bounds, dim = 5500, (-5.0, 4.0), 2
    ours, scipys = Rugged(), Rugged(limit=9000)
    result = ours.run(DualAnnealing(options), bounds, budget, dim)
    start = 0
    with contextlib.suppress(EOFError):
        while True:
            scipy.optimize.dual_annealing(
                scipys.value,
                [bounds] * dim,
                minimizer_kwargs={
                    "method": "L-BFGS-B",
                    "jac": scipys.gradient,
                    "bounds": [bounds] * dim,
                    "options": {"maxiter": 100},
                },
                rng=numpy_generator(3, "annealing", start),
                **({"maxiter": 10**6} | options),
            )
            start += 1
    assert start > 20 if "maxiter" in options else start == 0
    once = list(dict.fromkeys(queries(scipys.calls)))
    assert queries(ours.calls) == once[:budget]
    if start == 0:
        assert len(once) < 0.9 * len(queries(scipys.calls))  # what SciPy asks again and again
    assert result.fun < 1e-9


def test_basin_hopping_is_scipys():
    budget, bounds, dim = 1500, (-2.0, 2.0), 2  # a width that is a power of two: the change of units is exact
    ours, scipys = Rugged(), Rugged(limit=2 * budget)
    ours.run(BasinHopping(step=1 / 8, temperature=0.5, interval=9, target_accept_rate=0.4), bounds, budget, dim)
    generator = numpy_generator(3, "basinhopping")
    with contextlib.suppress(EOFError):
        scipy.optimize.basinhopping(
            scipys.value,
            generator.uniform([-2.0] * dim, [2.0] * dim),
            niter=10**6,
            stepsize=0.5,
            T=0.5,
            interval=9,
            target_accept_rate=0.4,
            minimizer_kwargs={"method": "L-BFGS-B", "jac": scipys.gradient, "bounds": [bounds] * dim},
            rng=generator,
        )
    assert ours.calls == scipys.calls


def test_basin_hopping_at_temperature_zero_is_monotonic():
    lower, upper = np.array([-3.0, -40.0]), np.array([2.0, 90.0])
    ours, reference = Rugged(), Rugged(limit=2 * 1000)
    ours.run(BasinHopping(temperature=0, interval=10**6), np.stack([lower, upper]), 1000)
    generator = numpy_generator(3, "basinhopping")
    x, accepted = generator.uniform(lower, upper), []

    def search(x):
        return scipy.optimize.minimize(
            reference.value, x, jac=reference.gradient, method="L-BFGS-B", bounds=scipy.optimize.Bounds(lower, upper)
        )

    with contextlib.suppress(EOFError):
        found = search(x)
        while True:
            x = found.x + (upper - lower) * generator.uniform(-1 / 12, 1 / 12, 2)
            new = search(np.clip(x, lower, upper))
            generator.uniform()  # Metropolis' draw, without effect
            if new.fun <= found.fun and (new.success or not found.success):
                found = new
                accepted.append(found.fun)
    assert ours.calls == reference.calls
    assert len(accepted) >= 5


def test_hops_keep_to_the_box_and_to_its_proportions():
    bounds = torch.tensor([[-1.0, 1e-3, 5.0], [1.0, 1e3, 5.1]], dtype=torch.float64)
    lower, upper = bounds.numpy()
    hop = BoxHop(Objective(rugged_batch, bounds), 0.25, np.random.default_rng(0))
    centre = (lower + upper) / 2
    hops = np.array([hop(centre.copy()) for _ in range(2000)])
    shares = np.abs(hops - centre).max(0) / (upper - lower)
    assert (shares <= 0.25 + 1e-12).all()
    assert (shares > 0.245).all()
    hop.stepsize = 1e9  # what endless adaptation could reach
    ends = np.array([hop(lower.copy()) for _ in range(2000)])
    assert ((ends >= lower) & (ends <= upper)).all()
    assert ((ends > lower) & (ends < upper)).any(1).mean() > 0.5


@pytest.mark.parametrize("polish", [False, True])
def test_evolution_is_scipys_with_a_new_population_after_convergence(polish):
    lower, upper = np.array([-5.0, -5.0]), np.array([4.0, 4.0])
    seen, expected = [], []

    def fun(X):
        seen.extend(X.detach().tolist())
        return rugged_batch(X)

    def recorded(points):
        expected.extend(points.tolist())
        return rugged_batch(torch.from_numpy(points))

    def value_and_gradient(x):
        expected.append(x.tolist())
        X = torch.from_numpy(x[None]).requires_grad_()
        y = rugged_batch(X)
        (grad,) = torch.autograd.grad(y, X)
        return y.item(), grad.numpy()[0]

    optimizer = DifferentialEvolution(popsize=8, polish=polish, options={"strategy": "rand1bin"})
    result = optimizer.minimize(Objective(fun, np.stack([lower, upper])), 5000, rng=3)
    bounds = scipy.optimize.Bounds(lower, upper)
    start = 0
    while len(expected) < 4000:
        found = scipy.optimize.differential_evolution(
            lambda X: recorded(X.T.copy()).numpy(),
            bounds,
            strategy="rand1bin",
            popsize=8,
            polish=False,
            updating="deferred",
            vectorized=True,
            rng=numpy_generator(3, "evolution", start),
        )
        if polish:
            scipy.optimize.minimize(value_and_gradient, found.x, jac=True, method="L-BFGS-B", bounds=bounds)
        start += 1
    assert start >= 2
    assert seen[:4000] == expected[:4000]
    assert (result.nfev, result.status, len(seen)) == (5000, 1, 5000)
    assert (result.njev > 0) == polish


def test_evolution_does_not_depend_on_the_units_of_the_box():
    scale = torch.tensor([2.0**-30, 1.0, 2.0**17], dtype=torch.float64)
    box = torch.tensor([[-3.0] * 3, [5.0] * 3], dtype=torch.float64)
    optimizer = DifferentialEvolution(polish=False)
    plain = optimizer.minimize(Objective(rugged_batch, box), 2000, rng=0)
    scaled = optimizer.minimize(Objective(lambda X: rugged_batch(X / scale), box * scale), 2000, rng=0)
    np.testing.assert_array_equal(scaled.history, plain.history)
    np.testing.assert_array_equal(scaled.x, plain.x * scale.numpy())


@pytest.mark.parametrize(
    ("fun", "vectorized", "gradients"),
    [
        (lambda X: ((X - 0.25) ** 2).sum(1), True, True),
        (lambda X: ((X.detach() - 0.25) ** 2).sum(1), True, False),  # autograd sees no gradient
        (lambda X: ((X.numpy() - 0.25) ** 2).sum(1), True, False),  # autograd makes the function fail
        (lambda x: ((x - 0.25) ** 2).sum(), False, False),
    ],
)
def test_the_polish_uses_gradients_where_there_are_some(fun, vectorized, gradients):
    def regret(polish):
        objective = Objective(fun, (-1, 1), dim=4, vectorized=vectorized)
        result = DifferentialEvolution(polish=polish).minimize(objective, 700, rng=0)
        assert (result.nfev, result.status) == (700, 1)
        assert (result.njev > 1) == (polish and gradients)
        return result.fun

    assert regret(polish=True) < 1e-9
    assert regret(polish=False) > 1e-4


def test_a_failing_gradient_does_not_end_evolution_but_a_failing_value_does():
    class NoGradient(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, X):
            return (X**2).sum(1)

        @staticmethod
        def backward(_ctx, grad):
            return torch.full((len(grad), 2), math.nan, dtype=grad.dtype)

    result = DifferentialEvolution().minimize(Objective(NoGradient.apply, (-1, 2), dim=2), 500, rng=0)
    assert (result.nfev, result.status) == (500, 1)
    assert result.fun < 1e-9

    def fails_alone(X):
        return (X**2).sum(1) if len(X) > 1 else X[:, 0] * math.nan

    with pytest.raises(ObjectiveError, match="non-finite value"):
        DifferentialEvolution().minimize(Objective(fails_alone, (-1, 2), dim=2), 500, rng=0)


@pytest.mark.parametrize("method", [DualAnnealing, BasinHopping])
def test_the_run_does_not_depend_on_the_budget(method):
    short, long = Rugged(), Rugged()
    short.run(method(), (-5, 4), 300)
    long.run(method(), (-5, 4), 900)
    assert short.calls == long.calls[: len(short.calls)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError, KeyboardInterrupt, StopIteration])
def test_nothing_raised_is_lost_in_scipy(method, error):
    for calls in (1, 2, 30, 55):
        seen = []

        def callback(result, seen=seen, calls=calls):
            seen.append(result.nfev)
            if len(seen) == calls:
                raise error("mine")

        objective = Objective(rugged_batch, (-5, 4), dim=2)
        if error in (KeyboardInterrupt, StopIteration):
            result = method().minimize(objective, 3000, rng=0, callback=callback)
            assert result.status == (3 if error is StopIteration else 4)
        else:
            with pytest.raises(error, match=r"^mine$"):
                method().minimize(objective, 3000, rng=0, callback=callback)
        assert len(seen) == calls


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-300, 1e155, 1e303, 1e306])
def test_values_of_any_size_give_no_warnings(method, scale):
    def two_sided(X):
        return torch.where(X[:, 0] > 0, rugged_batch(X), -rugged_batch(X)) * scale

    result = method().minimize(Objective(two_sided, (-5, 4), dim=2), 2000, rng=0)
    assert result.nfev == 2000
    assert math.isfinite(result.fun)


@pytest.mark.parametrize("method", METHODS)
def test_the_callers_floating_point_settings_hold_in_the_objective(method):
    def overflowing(x):
        return float(np.float64(1e200) ** 2 * x[0])

    objective = Objective(overflowing, (-5, 4), dim=2, jac=lambda x: x, vectorized=False)
    with np.errstate(over="raise"), pytest.raises(ObjectiveError, match="FloatingPointError"):
        method().minimize(objective, 100, rng=0)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (DualAnnealing, {"options": {"temperature": 1}}),
        (DualAnnealing, {"options": {"initial_temp": 0}}),
        (DualAnnealing, {"options": {"restart_temp_ratio": 1}}),
        (DualAnnealing, {"options": {"visit": 3}}),
        (DualAnnealing, {"options": {"accept": -4.9}}),
        (DualAnnealing, {"options": {"maxiter": 0}}),
        (BasinHopping, {"temperature": -1}),
        (BasinHopping, {"temperature": math.nan}),
        (BasinHopping, {"step": 0}),
        (BasinHopping, {"step": 2}),
        (BasinHopping, {"interval": 0}),
        (BasinHopping, {"target_accept_rate": 1}),
        (BasinHopping, {"stepwise_factor": 0}),
        (DifferentialEvolution, {"popsize": 0}),
        (DifferentialEvolution, {"options": {"workers": 2}}),
        (DifferentialEvolution, {"options": {"recombination": 1.1}}),
        (DifferentialEvolution, {"options": {"tol": -1}}),
        (DifferentialEvolution, {"options": {"mutation": 3}}),
        (DifferentialEvolution, {"options": {"strategy": "best"}}),
    ],
)
def test_bad_settings_are_refused_before_the_first_query(method, settings):
    objective = Objective(rugged_batch, (-5, 4), dim=2)
    with pytest.raises(ValueError):
        method(**settings).minimize(objective, 100, rng=0)
    assert objective.evaluations == 0
