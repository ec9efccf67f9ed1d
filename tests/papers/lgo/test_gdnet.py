"""Gd-Net on an objective: its descent, stop rules and counts, and that it is the batched d-Net where both exist."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.functions.gaussians import GaussianFamily
from common.objective import BudgetExhausted, Objective, ObjectiveError
from papers.lgo.local_search import local_search
from papers.lgo.model import DNet, load_dnet, preset, save_dnet


def rosenbrock(X):
    return (100 * (X[:, 1:] - X[:, :-1] ** 2) ** 2 + (1 - X[:, :-1]) ** 2).sum(1)


def himmelblau(X):
    x, y = X.T
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def objective(function=rosenbrock, box=10.0, dim=4, **options):
    return Objective(function, (-box, box), dim=dim, **options)


def starts(count, dim, half_width=2.0):
    uniform = torch.rand(count, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return half_width * (2 * uniform - 1)


def random_net(layers, seed):
    net = DNet(layers, init="uniform", seed=seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    return net


@pytest.mark.parametrize("pairs", [None, 20])
@pytest.mark.parametrize("tail", ["restart", "carry", "last"])
def test_exact_enough_line_searches_make_it_the_batched_net(tail, pairs):
    functions, start = GaussianFamily(4).sample(0, range(3))
    net = DNet(4, init="uniform", seed=3)
    batched = list(islice(net.iterates(functions, start, tail), 9))[8].x.detach()
    for i in range(3):
        found = local_search(
            Objective(functions[i], (-50, 50), dim=4), start[i], net, tail=tail, slope_tolerance=1e-11, max_nets=2,
            tolerance=0.0, pairs=pairs,
        )  # fmt: skip
        assert found.stop == {"nets": 2}
        assert found.steps == 8
        torch.testing.assert_close(found.x, batched[i], rtol=0, atol=1e-6)


def test_ones_are_bfgs_restarted_after_every_d_net():
    functions, start = GaussianFamily(5).sample(0, range(3))
    T = 4
    with torch.no_grad():
        ours = list(islice(preset("bfgs", T).iterates(functions, start), 3 * T + 1))[-1].x
    for i in range(3):
        f, x = functions[i : i + 1], start[i : i + 1]
        s = before = np.zeros(5)
        for k in range(3 * T):
            g = f.gap_and_gradient(x)[1][0].numpy()
            if k % T == 0:
                H = np.eye(5)
            else:
                y = g - before
                V = np.eye(5) - np.outer(s, y) / (s @ y)
                H = V @ H @ V.T + np.outer(s, s) / (s @ y)
            d = torch.from_numpy(-H @ g)[None]
            s, before = (f.exact_step(x, d) * d)[0].numpy(), g
            x = x + torch.from_numpy(s)
        torch.testing.assert_close(ours[i], x[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["bfgs", "cg", "prp", "huang"])
def test_reaches_the_minimum_of_rosenbrock(name):
    for start in starts(3, 4):
        found = local_search(objective(), start, preset(name, 8), tail="last")
        assert found.stop.keys() == {"gradient"}
        assert found.stop["gradient"] == pytest.approx(float(found.gradient.norm()))
        assert found.stop["gradient"] <= 1e-6
        assert found.value < 1e-10 or found.value == pytest.approx(3.701, abs=1e-2)  # its other minimum at d = 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tail", ["restart", "carry"])
def test_theorem_1_any_theta_converges_to_a_stationary_point(seed, tail):
    """The gradient falls below any bound and values never rise, from every start, for weights drawn at random."""
    for function, dim in ((himmelblau, 2), (lambda X: (X**4 - 16 * X**2 + 5 * X).sum(1), 3)):
        for start in starts(2, dim, 4.0):
            problem = objective(function, dim=dim)
            found = local_search(problem, start, random_net(8, seed), tail=tail, tolerance=1e-5)
            assert found.stop.keys() == {"gradient"}
            assert float(found.gradient.norm()) <= 1e-5
            assert found.value <= float(function(start[None]))
            assert found.value == pytest.approx(problem.best_value, rel=1e-12)


def test_a_search_that_its_weights_have_stalled_begins_anew():
    """Without restarts these weights drive H towards a singular matrix; rounding then stops all progress."""
    quartic = objective(lambda X: (X**4 - 16 * X**2 + 5 * X).sum(1), dim=3)
    found = local_search(quartic, starts(1, 3, 4.0)[0], random_net(8, 3), tail="last")
    assert found.stop.keys() == {"gradient"}
    assert found.nets > 1


def test_every_line_search_ends_lower():
    start = starts(1, 4)[0]
    values = [local_search(objective(), start, random_net(2, 0), max_nets=nets).value for nets in range(1, 12)]
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("gradient_cost", [1, 3])
def test_evaluations_are_the_calls_made(gradient_cost):
    calls = []

    def counted(X):
        calls.append(len(X))
        return rosenbrock(X)

    problem = objective(counted, gradient_cost=gradient_cost)
    found = local_search(problem, starts(1, 4)[0], preset("bfgs", 8))
    assert found.evaluations == problem.evaluations == gradient_cost * sum(calls)
    again = local_search(problem, starts(2, 4)[1], preset("bfgs", 8), max_evaluations=40)
    assert 40 - gradient_cost < again.evaluations <= 40
    assert again.stop == {"evaluations": again.evaluations}
    assert problem.evaluations == gradient_cost * sum(calls) == found.evaluations + again.evaluations


@pytest.mark.parametrize("budget", [1, 2, 17])
def test_a_budget_is_spent_exactly(budget):
    calls = []

    def counted(X):
        calls.append(len(X))
        return rosenbrock(X)

    problem = objective(counted)
    problem.start(budget)
    with pytest.raises(BudgetExhausted):
        local_search(problem, starts(1, 4)[0], preset("bfgs", 8))
    assert sum(calls) == problem.evaluations == budget
    assert problem.best_x is not None


def test_it_stops_at_once_where_the_gradient_is_zero():
    found = local_search(objective(), torch.ones(4, dtype=torch.float64), preset("bfgs", 8), tolerance=0.0)
    assert (found.steps, found.evaluations, found.stop) == (0, 1, {"gradient": 0.0})


def test_it_stops_where_rounding_lets_nothing_be_gained():
    shifted = objective(lambda X: 1e8 + rosenbrock(X - 1 / 3))  # no number has the gradient 0
    found = local_search(shifted, starts(1, 4)[0], preset("bfgs", 8), tolerance=0.0)
    assert found.stop.keys() == {"no progress"}
    assert found.value == pytest.approx(1e8, abs=1e-6)


def test_functions_without_bound_below_are_told():
    found = local_search(objective(lambda X: -(X**2).sum(1), box=1e100, dim=2), starts(1, 2)[0], preset("bfgs"))
    assert found.stop.keys() == {"unbounded"}
    assert found.value < -1e40
    assert found.value == -float((found.x**2).sum())


@pytest.mark.parametrize("what", ["value", "gradient"])
def test_numbers_that_are_not_finite_end_the_search_and_the_best_point_is_kept(what):
    """The objective's contract: an error that names the point, raised through every method."""

    def fun(X):
        y = (X**2).sum(1)
        gradient = 2 * X
        (y if what == "value" else gradient)[y < 1.0] = torch.nan
        return y, gradient

    problem = objective(fun, dim=3, jac=True)
    with pytest.raises(ObjectiveError, match=f"non-finite {what} at x"):
        local_search(problem, torch.tensor([-1.5, 2.0, -0.5], dtype=torch.float64), preset("bfgs", 6))
    assert problem.best_x is not None
    assert problem.best_value < 6.5
    if what == "value":
        assert problem.best_value == float((problem.best_x**2).sum()) >= 1


@pytest.mark.parametrize("name", ["gd", "cg", "bfgs"])
def test_minima_on_the_boundary_of_the_box_are_reached(name):
    function = lambda X: ((X - torch.tensor([3.0, 0.2, -5.0])) ** 2).sum(1) + 0.5 * X[:, 0] * X[:, 1]  # noqa: E731
    problem = objective(function, box=1.0, dim=3)
    found = local_search(problem, torch.tensor([0.3, -0.9, 0.1]), preset(name, 6))
    assert found.stop.keys() == {"gradient"}
    torch.testing.assert_close(found.x, torch.tensor([1.0, -0.05, -1.0], dtype=torch.float64), rtol=0, atol=1e-6)
    corner = local_search(objective(lambda X: X.sum(1), box=1.0, dim=3), torch.zeros(3), preset(name, 6))
    assert corner.stop == {"gradient": 0.0}
    assert torch.equal(corner.x, -torch.ones(3, dtype=torch.float64))
    leaves = local_search(objective(rosenbrock, box=2.0), torch.full((4,), -2.0), preset(name, 8), max_evaluations=200)
    assert leaves.value < 10  # a start in a corner, from where every variable is let go


def test_guards_and_nets_are_counted():
    found = local_search(objective(himmelblau, dim=2), starts(1, 2)[0], preset("bfgs", 3))
    assert found.nets == -(-found.steps // 3)
    assert found.guarded == 0
    net = DNet(6)
    with torch.no_grad():
        net.rho.fill_(-5.0)  # H is indefinite
    guarded = local_search(objective(), starts(1, 4)[0], net, tail="last", max_nets=50)
    assert guarded.guarded > 0
    assert guarded.nets == 1
    assert guarded.value < float(rosenbrock(starts(1, 4)))


def test_a_million_variables():
    d = 1_000_000
    scale = torch.linspace(1, 20, d, dtype=torch.float64)

    def valley(X):
        return (scale * X**2).sum(1) + X.sum(1) ** 2 / d

    problem = Objective(valley, (-10, 10), dim=d, jac=lambda X: 2 * scale * X + 2 * X.sum(1, keepdim=True) / d)
    found = local_search(problem, torch.ones(d, dtype=torch.float64), DNet(10), max_nets=1)
    assert found.steps == 10
    assert found.value < 1e-3 * d < 1e-4 * float(valley(torch.ones(1, d)))


def test_saved_nets_are_the_same(tmp_path):
    net = random_net(5, 2)
    save_dnet(tmp_path / "net.safetensors", net, origin="test")
    loaded = load_dnet(tmp_path / "net.safetensors")
    results = [local_search(objective(), starts(1, 4)[0], n, max_nets=3) for n in (net, loaded)]
    assert torch.equal(results[0].x, results[1].x)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_benchmark_function_in_its_own_box():
    function = make_function("styblinski_tang", 5)
    problem = Objective(function, function.bounds)
    found = local_search(problem, torch.full((5,), -2.0), preset("bfgs", 10))
    assert found.value == pytest.approx(0, abs=1e-10)
