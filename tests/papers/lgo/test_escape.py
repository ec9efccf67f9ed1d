from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.objective import BudgetExhausted, Objective, ObjectiveError
from papers.lgo.environments import Mixtures
from papers.lgo.escape import FAILED_SCORE, FastEscape, Outcome, TunedEscape
from papers.lgo.filled import Linear, Quadratic
from papers.lgo.policy import draw

EAST = torch.tensor([[1.0]], dtype=torch.float64)
BOTH = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


def tilted(X, tilt=0.3):
    """A double well with minima near -1 and 1, the lower one on the right."""
    return (X**2 - 1).square().sum(1) - tilt * X.sum(1)


def minimize_1d(function, x):
    """Newton's method on a function of one variable, from a point where it is convex."""
    x = torch.tensor(float(x), dtype=torch.float64)
    for _ in range(15):
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(leaf.view(1, 1)).sum(), leaf, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, leaf)
        x = x - (slope / curvature).detach()
    return x.view(1), float(function(x.view(1, 1)))


def barrier(function, x0, x1):
    """The highest point between two minima of a function of one variable: where their basins of attraction meet."""
    t = x0 + (x1 - x0) * torch.linspace(0, 1, 10_001, dtype=torch.float64)
    return t[function(t[:, None]).argmax()]


def downhill(functions, x):
    """Follow the gradient of every function from x (``F x d``): the minimum in whose basin of attraction x is."""
    for _ in range(500):
        x = x - 0.2 * functions.value_and_gradient(x, torch.arange(functions.folds))[1]
    return x


X0, F0 = minimize_1d(tilted, -1.0)
X1, F1 = minimize_1d(tilted, 1.0)


def box(function=tilted, half=6.0):
    return Objective(function, (-half, half), dim=1)


def mixture_case(dim=2, seed=3):
    """A function, its shallow minimum and value, and directions: to a lower minimum, away from it, and three others."""
    functions = Mixtures.sample(dim, [seed])
    away = functions.minima[0, 0] - functions.start[0]
    directions = [away / away.norm(), -away / away.norm(), *draw([seed], dim, 3, 1).initial[0]]
    return functions, functions.start[0], float(functions.start_values[0]), torch.stack(directions)


# --- a double well ---


@pytest.mark.parametrize("rule", ["derivative", "energy"])
@pytest.mark.parametrize("form", ["quadratic", "linear"])
def test_the_way_to_the_lower_well_is_promising_and_the_way_out_is_not(rule, form):
    escapes = FastEscape(form, rule, bound=5.0)(box(), X0, F0, BOTH)
    assert escapes.promising.tolist() == [True, False]
    assert escapes.outcomes.tolist() == [Outcome.ESCAPED, Outcome.OUT_OF_BOUND]
    assert escapes.failed.tolist() == [False, True]
    assert escapes.scores[1] == FAILED_SCORE < 0 < escapes.scores[0]
    assert escapes.points[1].isnan().all()
    assert barrier(tilted, X0, X1) < escapes.points[0] < X1
    torch.testing.assert_close(escapes.values[0], tilted(escapes.points[:1])[0])
    if rule == "energy":
        assert escapes.values[0] <= F0


@pytest.mark.parametrize("function", [lambda X: X.square().sum(1), lambda X: X.abs().pow(1.5).sum(1)])
@pytest.mark.parametrize("rule", ["derivative", "energy"])
def test_a_single_basin_has_no_promising_direction(rule, function):
    objective = Objective(function, (-9, 9), dim=3)
    directions = draw([0], 3, 20, 1).initial[0]
    escapes = FastEscape(rule=rule, bound=8.0)(objective, torch.zeros(3, dtype=torch.float64), 0.0, directions)
    assert not escapes.promising.any()
    assert (escapes.outcomes == Outcome.OUT_OF_BOUND).all()
    assert torch.equal(escapes.scores, torch.full((20,), FAILED_SCORE, dtype=torch.float64))


def test_the_score_is_the_steepest_fall_along_the_direction():
    """Small steps: it is the maximum of -g'(t) up to the point that was found."""
    escapes = FastEscape("linear", rate=5e-3, control=1.0, delta=5e-3)(box(), X0, F0, EAST)
    t = torch.linspace(0, float(escapes.points[0, 0] - X0), 20_001, dtype=torch.float64)
    g = tilted(X0 + t[:, None])
    torch.testing.assert_close(escapes.scores[0], (-g.diff() / t.diff()).max(), rtol=1e-2, atol=0)


def test_where_f_falls_at_once_the_first_lower_point_is_taken():
    slope = torch.tensor([0.5], dtype=torch.float64)  # no minimum: f falls to the right
    escapes = FastEscape()(box(), slope, float(tilted(slope[None])), EAST)
    assert escapes.outcomes.tolist() == [Outcome.DESCENT]
    assert escapes.values[0] < tilted(slope[None])
    assert escapes.scores[0] > 0
    assert escapes.evaluations.tolist() == [1]


@pytest.mark.parametrize("rule", ["derivative", "energy"])
def test_a_jump_over_a_whole_well_s_flank_has_the_mean_slope_as_its_score(rule):
    """At the first point, 1.5 from x_0 and past the bottom of a narrow well, f is lower and rises."""
    f = lambda X: X.square().sum(1) - 4 * (-(X - 1.4).square().sum(1) / 0.02).exp()  # noqa: E731
    escapes = FastEscape(rule=rule, delta=1.5 / 1.1)(box(f), torch.zeros(1, dtype=torch.float64), 0.0, EAST)
    assert escapes.outcomes.tolist() == [Outcome.DESCENT]
    assert escapes.scores[0].item() == pytest.approx(-float(escapes.values[0]) / 1.5)


def test_energy_is_stricter_than_the_derivative():
    """A worse basin on the way: the paper's rule stops on its flank, ours does not."""
    f = lambda X: tilted(X, tilt=-0.3)  # noqa: E731
    x0, f0 = minimize_1d(f, -1.0)
    derivative, energy = (FastEscape("linear", rule)(box(f), x0, f0, EAST) for rule in ("derivative", "energy"))
    assert derivative.promising.all()
    assert not energy.promising.any()


@given(tilt=st.floats(0.1, 1.0), sign=st.sampled_from([1, -1]), factor=st.floats(0.1, 10.0))
@settings(max_examples=5, deadline=None)
def test_points_do_not_depend_on_the_scale_or_offset_of_f(tilt, sign, factor):
    tilt = sign * tilt  # where the wells are equal, rounding decides whether f is back at its value
    for rule in ("derivative", "energy"):
        x0, f0 = minimize_1d(lambda X: tilted(X, tilt), -1.0)
        escape = FastEscape("linear", rule, max_step=0.05)
        plain = escape(box(lambda X: tilted(X, tilt)), x0, f0, BOTH)
        scaled = escape(box(lambda X: factor * tilted(X, tilt) + 3), x0, factor * f0 + 3, BOTH)
        torch.testing.assert_close(plain.points, scaled.points, equal_nan=True)
        torch.testing.assert_close(torch.where(plain.failed, 1.0, factor) * plain.scores, scaled.scores)


# --- the theorems ---


@pytest.mark.parametrize("tilt", [-0.5, 0.0, 0.3, 0.9])
def test_theorem_2_f_rises_to_one_maximum_then_falls_on_the_way_to_another_basin(tilt):
    f = lambda X: tilted(X, tilt)  # noqa: E731
    (x0, f0), (x1, _) = minimize_1d(f, -1.0), minimize_1d(f, 1.0)
    t = torch.linspace(0, float(x1 - x0), 10_001, dtype=torch.float64)
    signs = f(x0 + t[:, None]).diff().sign()
    top = int((signs > 0).sum())
    assert 0 < top < 10_000
    assert (signs[:top] > 0).all()
    assert (signs[top:] < 0).all()
    escapes = FastEscape("linear", rate=1e-2, control=1.0)(box(f), x0, f0, BOTH)
    assert escapes.promising.tolist() == [True, False]
    assert float(escapes.points[0, 0] - x0) > t[top]


def test_theorem_2_between_wells_of_random_mixtures():
    functions = Mixtures.sample(3, range(8), wells=1, distance=6.0)
    away = functions.minima[:, 0] - functions.start
    distance = away.norm(dim=1)
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    values = functions(functions.start[:, None] + t[:, None] * away[:, None])
    signs = values.diff(dim=1).sign()
    top = (signs > 0).sum(1)
    assert ((signs > 0) == (torch.arange(4000) < top[:, None])).all()
    escapes = functions.score(FastEscape(control=0.1))((away / distance[:, None])[:, None])
    assert escapes.promising.all()
    assert ((escapes.points[:, 0] - functions.start).norm(dim=1) > t[top] * distance).all()


@pytest.mark.parametrize("form", ["quadratic", "linear"])
@pytest.mark.parametrize("tilt", [0.1, 0.3, 0.8])
def test_theorem_3_the_sum_of_values_is_stationary_at_some_a_before_f_is_back_at_its_value(form, tilt):
    """As a grows, dF/da is positive first, and negative at the a that leads to x' with f(x') = f(x_0)."""
    f = lambda X: tilted(X, tilt)  # noqa: E731
    x0, f0 = minimize_1d(f, -1.0)
    t = torch.linspace(0.5, 2.0, 200_001, dtype=torch.float64)
    back = float(t[int((f(x0 + t[:, None]) <= f0).double().argmax())])
    steps, delta = 400, 0.01
    escape = TunedEscape(form, steps=steps, rate=1e-3, delta=delta)
    growth = (back / delta) ** (1 / steps)
    last = (growth - 1) / 2e-3 if form == "quadratic" else (back - delta) / (steps * 1e-3)
    controls = torch.linspace(0.02 * last, last, 60, dtype=torch.float64)
    unrolled = escape.unroll(box(f), x0, EAST.expand(60, 1), controls)
    assert unrolled.lengths[-1, -1].item() == pytest.approx(back)
    signs = unrolled.derivatives.sign()
    assert signs[0] > 0 > signs[-1]
    assert int((signs.diff() != 0).sum()) == 1  # one barrier, one maximum of F
    assert abs(int(unrolled.sums.argmax()) - int((signs > 0).sum())) <= 1


@pytest.mark.parametrize("form", ["quadratic", "linear"])
@pytest.mark.parametrize("tilt", [0.1, 0.3, 0.8])
def test_corollary_1_both_algorithms_end_in_the_basin_of_the_lower_minimum(form, tilt):
    f = lambda X: tilted(X, tilt)  # noqa: E731
    (x0, f0), (x1, _) = minimize_1d(f, -1.0), minimize_1d(f, 1.0)
    tuned = TunedEscape(form, steps=40, rate=0.02)
    for escape in (tuned, FastEscape(form, rate=0.01), FastEscape(form, "energy", rate=0.01)):
        escapes = escape(box(f), x0, f0, EAST)
        assert escapes.outcomes.tolist() == [Outcome.ESCAPED]
        assert escapes.scores[0] > 0
        assert barrier(f, x0, x1) < escapes.points[0] < x1


def test_corollary_1_for_random_mixtures_of_two_wells():
    functions = Mixtures.sample(2, range(20), wells=1, distance=5.0)
    away = functions.minima[:, 0] - functions.start
    escapes = functions.score(FastEscape(control=0.1))((away / away.norm(dim=1, keepdim=True))[:, None])
    assert escapes.promising.all()
    torch.testing.assert_close(downhill(functions, escapes.points[:, 0]), functions.minima[:, 0], rtol=0, atol=1e-3)


# --- Algorithm 2 ---


@pytest.mark.parametrize("form", ["quadratic", "linear"])
def test_the_derivative_is_autograd_s_through_the_unrolled_steps(form):
    functions, minimum, _, directions = mixture_case(3)
    objective = functions.objective(0)
    controls = torch.linspace(0.05, 1.0, len(directions), dtype=torch.float64)
    escape = TunedEscape(form, steps=15, rate=0.1)
    unrolled = escape.unroll(objective, minimum, directions, controls)
    for i, d in enumerate(directions):
        a = controls[i].clone().requires_grad_()
        filled = Quadratic(minimum, a) if form == "quadratic" else Linear(minimum, d, a)
        x, values = (minimum + 0.05 * d)[None], []
        for _ in range(15):
            x = x - 0.1 * filled.value_and_gradient(x)[1]
            values.append(functions.value_and_gradient(x, torch.tensor(0))[0])
        total = torch.cat(values).sum()
        (derivative,) = torch.autograd.grad(total, a)
        torch.testing.assert_close(unrolled.sums[i], total.detach())
        torch.testing.assert_close(unrolled.derivatives[i], derivative, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(unrolled.points[i, -1], x.detach()[0])


@pytest.mark.parametrize("form", ["quadratic", "linear"])
def test_q_of_algorithm_3_is_the_derivative_of_algorithm_2(form):
    """Eq. (31): with the same a, Q(i) is dF/da for N = i."""
    functions, minimum, value, directions = mixture_case(2)
    fast = FastEscape(form, control=0.5)(functions.objective(0), minimum, value, directions, record=True)
    for d, path in zip(directions, fast.paths, strict=True):
        for steps in (1, 5, len(path.sums)):
            tuned = TunedEscape(form, steps=steps)
            unrolled = tuned.unroll(functions.objective(0), minimum, d[None], torch.full((1,), 0.5).double())
            torch.testing.assert_close(path.sums[steps - 1], unrolled.derivatives[0], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(path.sums[:steps], unrolled.partial[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", ["quadratic", "linear"])
def test_the_ascent_ends_where_the_sum_is_stationary(form):
    escape = TunedEscape(form, tolerance=1e-4)
    escapes = escape(box(), X0, F0, EAST, record=True)
    assert escapes.outcomes.tolist() == [Outcome.ESCAPED]
    unrolled = escape.unroll(box(), X0, EAST, escapes.controls)
    assert abs(unrolled.derivatives[0]) <= 1e-4
    around = escape.unroll(box(), X0, EAST.expand(3, 1), escapes.controls * torch.tensor([0.98, 1.0, 1.02]))
    assert around.sums.argmax() == 1
    torch.testing.assert_close(escapes.scores, unrolled.scores)
    torch.testing.assert_close(escapes.points[0], unrolled.points[0, -1])
    torch.testing.assert_close(escapes.paths[0].points, unrolled.points[0])


def test_one_update_is_one_step_of_gradient_ascent():
    escape = TunedEscape(control=0.2, control_rate=1e-4, max_updates=1)
    slope = escape.unroll(box(), X0, EAST, torch.tensor([0.2], dtype=torch.float64)).derivatives
    escapes = escape(box(), X0, F0, EAST)
    assert escapes.outcomes.tolist() == [Outcome.UNCONVERGED]
    assert escapes.failed.all()
    torch.testing.assert_close(escapes.controls, 0.2 + 1e-4 * slope)


def test_the_ascent_leaves_the_bound_where_there_is_no_lower_point():
    objective = box()
    escapes = TunedEscape(bound=5.0)(objective, X0, F0, -EAST)
    assert escapes.outcomes.tolist() == [Outcome.OUT_OF_BOUND]
    assert escapes.scores.tolist() == [FAILED_SCORE]
    assert objective.gradients == escapes.evaluations.sum() > 0
    assert objective.gradients % 50 == 0


def test_the_ascent_notices_that_f_falls_at_once():
    slope = torch.tensor([0.5], dtype=torch.float64)
    escapes = TunedEscape("linear", control=0.01)(box(), slope, float(tilted(slope[None])), EAST)
    assert escapes.outcomes.tolist() == [Outcome.DESCENT]
    assert escapes.scores[0] > 0
    assert escapes.values[0] < tilted(slope[None])


# --- every escape ---

ESCAPES = {
    "derivative": FastEscape(),
    "energy": FastEscape(rule="energy"),
    "linear": FastEscape("linear"),
    "cut": FastEscape(max_step=0.1),
    "tuned": TunedEscape(steps=20, control_rate=1.0, tolerance=0.05, max_updates=100),
    "tuned linear": TunedEscape("linear", steps=20, tolerance=0.05, max_updates=100),
}
every_escape = pytest.mark.parametrize("name", ESCAPES)


@every_escape
@pytest.mark.parametrize("record", [False, True])
def test_a_batch_is_its_directions_alone_and_every_query_is_counted(name, record):
    functions, minimum, value, directions = mixture_case(2)
    objective = functions.objective(0)
    together = ESCAPES[name](objective, minimum, value, directions, record)
    assert together.promising.any()
    assert together.failed.any()
    assert objective.gradients == objective.evaluations == together.evaluations.sum()
    for i, d in enumerate(directions):
        single = functions.objective(0)
        alone = ESCAPES[name](single, minimum, value, d[None], record)
        assert single.gradients == together.evaluations[i]
        for one, all_of_them in zip(alone[:-1], together[:-1], strict=True):
            torch.testing.assert_close(one[0], all_of_them[i], equal_nan=True)
        if record:
            for one, other in zip(alone.paths[0], together.paths[i], strict=True):
                torch.testing.assert_close(one, other)


@every_escape
def test_a_path_holds_what_was_seen(name):
    functions, minimum, value, directions = mixture_case(2)
    escapes = ESCAPES[name](functions.objective(0), minimum, value, directions, record=True)
    for i, path in enumerate(escapes.paths):
        torch.testing.assert_close(path.points, minimum + path.lengths[:, None] * directions[i])
        values, gradients = functions.value_and_gradient(path.points, torch.zeros(len(path.points), dtype=torch.int64))
        torch.testing.assert_close(path.values, values)
        torch.testing.assert_close(path.gradients, gradients)
        assert (path.lengths.diff() > 0).all()
        assert path.sums.shape == path.lengths.shape
        if escapes.promising[i]:
            torch.testing.assert_close(path.points[-1], escapes.points[i])
            assert path.values[-1] == escapes.values[i]
            torch.testing.assert_close(-(path.gradients @ directions[i]).min(), escapes.scores[i])


@every_escape
def test_functions_of_their_own_are_the_functions_alone(name):
    functions = Mixtures.sample(3, range(5))
    directions = draw(range(5), 3, 4, 1).initial
    together = functions.score(ESCAPES[name])(directions)
    assert together.scores.shape == (5, 4)
    assert together.points.shape == (5, 4, 3)
    for fold in range(5):
        alone = ESCAPES[name](
            functions.objective(fold), functions.start[fold], float(functions.start_values[fold]), directions[fold]
        )
        for one, all_of_them in zip(alone[:-1], together[:-1], strict=True):
            torch.testing.assert_close(one, all_of_them[fold], equal_nan=True)


@every_escape
def test_no_query_leaves_the_box_or_the_bound(name):
    seen = []

    def f(X):
        seen.append(X.detach().clone())
        return tilted(X)

    objective = Objective(f, [[-1.4], [1.2]])
    escapes = ESCAPES[name](objective, X0, F0, BOTH)  # the objective itself would refuse a point outside
    assert escapes.outcomes[1] == Outcome.OUT_OF_BOUND
    assert escapes.failed[1]
    points = torch.cat(seen)
    assert ((points >= -1.4) & (points <= 1.2)).all()


@pytest.mark.parametrize("kind", [FastEscape, TunedEscape])
def test_no_query_is_farther_than_the_bound(kind):
    seen = []

    def f(X):
        seen.append(X.detach().clone())
        return tilted(X)

    assert kind(bound=0.3)(box(f), X0, F0, BOTH).failed.all()
    assert ((torch.cat(seen) - X0).abs() <= 0.3).all()


@every_escape
def test_a_minimum_on_the_border_costs_nothing_in_the_directions_that_leave(name):
    objective = Objective(lambda X: X.sum(1), (0, 1), dim=2)
    directions = -torch.eye(2, dtype=torch.float64)
    escapes = ESCAPES[name](objective, torch.zeros(2, dtype=torch.float64), 0.0, directions)
    assert objective.evaluations == 0
    assert escapes.failed.all()


@every_escape
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_stop_the_search_with_their_cause(name, value):
    def broken(X):
        return torch.where(X[:, 0] > -0.5, value, tilted(X))

    with pytest.raises(ObjectiveError, match=r"non-finite value at x"):
        ESCAPES[name](box(broken), X0, F0, EAST)

    def no_gradient(X, rays):
        return tilted(X), torch.full_like(X, value)

    with pytest.raises(FloatingPointError, match="not finite"):
        ESCAPES[name].search(no_gradient, box().bounds, X0, F0, EAST)


@every_escape
def test_a_budget_ends_the_search_after_its_last_query(name):
    objective = box()
    objective.start(budget=7)
    with pytest.raises(BudgetExhausted):
        ESCAPES[name](objective, X0, F0, EAST)
    assert objective.evaluations == 7


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="length 1"):
        FastEscape()(box(), X0, F0, 2 * EAST)
    with pytest.raises(ValueError, match="the minimum has 2"):
        FastEscape()(box(), torch.zeros(2), F0, EAST)
    for kind in (FastEscape, TunedEscape):
        with pytest.raises(ValueError, match="forms are quadratic, linear"):
            kind("cubic")
        for name in ("control", "rate", "delta", "bound"):
            with pytest.raises(ValueError, match=f"{name} must be positive"):
                kind(**{name: 0.0})
            with pytest.raises(ValueError, match=f"{name} must be positive"):
                kind(**{name: math.nan})
    with pytest.raises(ValueError, match="rules are derivative, energy"):
        FastEscape(rule="momentum")
    with pytest.raises(ValueError, match="steps to the bound"):
        FastEscape("linear", control=1e-9)
    with pytest.raises(ValueError, match="cuts every step"):
        FastEscape("linear", max_step=0.01)
