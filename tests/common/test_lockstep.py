from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from greenlet import getcurrent
from hypothesis import given, settings
from hypothesis import strategies as st

from common.functions import make_function
from common.functions.transforms import Rotated, Shifted, random_rotation
from common.lockstep import minimize_folds
from common.objective import GradientUnavailable, Objective, ObjectiveError
from common.optimizers import get_optimizer
from common.optimizers.base import Optimizer

FOLDS, DIM = 4, 3
METHODS = {"lbfgs": {}, "cmaes": {}, "snes": {}, "random": {"population": 7}, "gennes": {"width": 8, "lr": 3e-3}}


def folded() -> Rotated:
    shifts = torch.rand(FOLDS, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    shifted = Shifted(make_function("rastrigin", DIM, bounds=(-2, 2)), shifts)
    return Rotated(shifted, torch.stack([random_rotation(k, DIM) for k in range(FOLDS)]))


class Plain:
    """A function without folds; ``calls`` has the number of points of every call and whether autograd watched."""

    bounds = torch.tensor([[-1.0] * DIM, [1.0] * DIM])

    def __init__(self, fault: Callable[[torch.Tensor], None] = lambda X: None) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.fault = fault

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(X), X.requires_grad))
        self.fault(X)
        return ((X - 0.3) ** 2).sum(1)


class Script(Optimizer):
    """Query what ``script(k)`` of run ``k`` says: number of points (at ``k / 10``) and whether with gradient."""

    def __init__(self, script: Callable[[int], list[tuple[int, bool]]]) -> None:
        self.script = script
        self.log: list[str] = []

    def _run(self, objective, seed):
        try:
            for step, (size, gradient) in enumerate(self.script(seed)):
                X = torch.full((size, objective.dim), seed / 10, dtype=torch.float64) + 0.01 * step
                y, grad, _ = objective.evaluate(X, gradient)
                torch.testing.assert_close(y, ((X - 0.3) ** 2).sum(1))
                assert (grad is not None) is gradient
                if gradient:
                    torch.testing.assert_close(grad, 2 * (X - 0.3))
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise
        return {"script": "done"}


def scripted(script: Callable[[int], list[tuple[int, bool]]]) -> tuple[list[Script], Callable[[], Script]]:
    made: list[Script] = []

    def make() -> Script:
        made.append(Script(script))
        return made[-1]

    return made, make


def assert_same(together, alone):
    assert len(together) == len(alone)
    for ours, other in zip(together, alone, strict=True):
        assert (ours.nfev, ours.njev, ours.nit, ours.status) == (other.nfev, other.njev, other.nit, other.status)
        assert ours.message == other.message
        np.testing.assert_allclose(ours.history, other.history, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.x, other.x, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("target", [None, 5.0])
@pytest.mark.parametrize("method", METHODS)
def test_folds_together_equal_folds_alone(method, target):
    function, seeds = folded(), range(10, 10 + FOLDS)

    def make() -> Optimizer:
        return get_optimizer(method)(**METHODS[method])

    together = minimize_folds(make, function, 250, seeds, target=target)
    alone = [
        make().minimize(Objective(function.fold(k), function.bounds), 250, seed, target=target)
        for k, seed in enumerate(seeds)
    ]
    assert_same(together, alone)
    if target is not None:
        assert len({result.nfev for result in together}) > 1  # the runs end at different times


def test_all_seeds_run_on_a_function_without_folds():
    function = Plain()
    together = minimize_folds(get_optimizer("lbfgs"), function, 40, [1, 2, 3])
    assert_same(
        together, [get_optimizer("lbfgs")().minimize(Objective(Plain(), Plain.bounds), 40, k) for k in (1, 2, 3)]
    )
    assert len(function.calls) == 40
    assert minimize_folds(get_optimizer("lbfgs"), function, 40, []) == []


queries = st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(queries, min_size=1, max_size=4))
def test_every_run_gets_its_own_part_whatever_the_others_ask(scripts):
    function = Plain()
    _, make = scripted(lambda k: scripts[k])
    results = minimize_folds(make, function, 100, range(len(scripts)))
    assert [result.nfev for result in results] == [sum(size for size, _ in script) for script in scripts]
    rounds = max(map(len, scripts))
    now = [[script[i] for script in scripts if i < len(script)] for i in range(rounds)]
    # one call a round, which pays for gradients only if somebody asked
    assert function.calls == [(sum(size for size, _ in asked), any(wanted for _, wanted in asked)) for asked in now]


def test_short_and_absent_queries_are_padded_in_the_box():
    shapes = []

    class Recorded(Plain):
        folds = FOLDS

        def __call__(self, X):
            shapes.append(tuple(X.shape))
            assert (X.abs() <= 1).all()
            return ((X - 0.3) ** 2).sum(-1)

    _, make = scripted(lambda k: [(1 + k, k == 1)] * (1 + k))
    results = minimize_folds(make, Recorded(), 100, range(FOLDS))
    assert [result.nfev for result in results] == [1, 4, 9, 16]
    assert shapes == [(FOLDS, 4, DIM)] * 4


def test_non_finite_value_names_the_fold_and_closes_the_other_runs():
    class Broken(Plain):
        def __call__(self, X):
            return torch.where((X[:, 0] - 0.21).abs() < 1e-9, math.nan, super().__call__(X))

    made, make = scripted(lambda k: [(2, False)] * 3)
    with pytest.raises(ObjectiveError, match=r"^fold 2: the objective has a non-finite value at x = \[0\.21") as caught:
        minimize_folds(make, Broken(), 100, range(4))
    assert caught.value.result.nfev == 4
    assert [run.log for run in made] == [["GreenletExit"], ["GreenletExit"], ["ObjectiveError"], ["GreenletExit"]]


@pytest.mark.parametrize("folds", [None, 4])
def test_raising_function_names_the_fold_and_its_point(folds):
    def fault(X):
        if (X == 0.31).any():
            raise ZeroDivisionError("boom")

    class Raising(Plain):
        def __call__(self, X):
            return super().__call__(X.reshape(-1, DIM)).reshape(X.shape[:-1])

    function = Raising(fault)
    function.folds = folds
    _, make = scripted(lambda k: [(1, True)] * 3)
    with pytest.raises(
        ObjectiveError, match=r"^fold 3: the objective raised ZeroDivisionError at x = \[0\.31"
    ) as caught:
        minimize_folds(make, function, 100, range(4))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    np.testing.assert_allclose(caught.value.point, [0.31] * DIM)
    assert caught.value.result.nfev == 2


def test_failure_of_the_batch_alone_is_an_error_as_well():
    def fault(X):
        if len(X) > 2:
            raise MemoryError("too many")

    made, make = scripted(lambda k: [(1, False)])
    with pytest.raises(ObjectiveError, match=r"MemoryError at a batch of folds \[0, 1, 2\]"):
        minimize_folds(make, Plain(fault), 10, range(3))
    assert [run.log for run in made] == [["GreenletExit"]] * 3


def test_wrong_shapes_and_missing_gradients_say_so():
    function = Plain()
    function.folds = 2
    with pytest.raises(ObjectiveError, match=r"^fold 0: .* values of shape 2 x 7, not \(2, 3\)"):
        minimize_folds(lambda: get_optimizer("random")(population=7), function, 10, [0, 1])
    with pytest.raises(ValueError, match="2 folds need as many seeds, not 3"):
        minimize_folds(get_optimizer("random"), function, 10, [0, 1, 2])

    class Opaque(Plain):
        def __call__(self, X):
            return super().__call__(X.detach())

    with pytest.raises(GradientUnavailable, match=r"^fold 1: autograd"):
        minimize_folds(scripted(lambda k: [(1, k == 1)])[1], Opaque(), 10, range(3))


def test_interrupt_in_the_function_ends_all_runs_with_what_they_have():
    steps = []

    def fault(X):
        steps.append(len(X))
        if len(steps) == 3:  # run 0 is done by then
            raise KeyboardInterrupt

    _, make = scripted(lambda k: [(1, False)] * (2 if k == 0 else 4))
    results = minimize_folds(make, Plain(fault), 100, range(3))
    assert [(result.status, result.nfev) for result in results] == [(0, 2), (4, 3), (4, 3)]


@pytest.mark.parametrize("step", [0, 2])
def test_interrupt_in_one_run_ends_all(step):
    class Interrupted(Script):
        def _run(self, objective, seed):
            if seed == 1:
                self.script = lambda k: [(1, False)] * step
                super()._run(objective, seed)
                raise KeyboardInterrupt
            return super()._run(objective, seed)

    results = minimize_folds(lambda: Interrupted(lambda k: [(1, False)] * 9), Plain(), 100, range(3))
    assert [result.status for result in results] == [4, 4, 4]
    assert [result.nfev for result in results] == [step + 1, step, step + 1]  # a query is paid when asked


def test_other_errors_come_out_as_they_are():
    made, make = scripted(lambda k: [(1, False)] * 3 if k else [(1, False), (-1, False)])
    with pytest.raises(RuntimeError):  # torch's, for a negative size
        minimize_folds(make, Plain(), 100, range(2))
    with pytest.raises(ValueError, match="budget"):
        minimize_folds(make, Plain(), 0, range(2))
    with pytest.raises(SystemExit):
        minimize_folds(make, Plain(lambda X: sys.exit()), 10, [1, 2])
    assert [run.log for run in made] == [["RuntimeError"], ["GreenletExit"], [], ["GreenletExit"], ["GreenletExit"]]


@pytest.mark.parametrize("mode", [True, False])
def test_modes_of_a_run_and_of_the_caller_do_not_mix(mode):
    class Modes(Optimizer):
        def _run(self, objective, seed):
            own = bool(seed % 2)
            assert torch.is_grad_enabled() is mode
            assert np.geterr()["over"] == "raise"
            X = torch.full((1, DIM), 0.5, dtype=torch.float64)
            with torch.set_grad_enabled(own), np.errstate(invalid=("warn", "print")[own]), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(1 + seed):  # runs leave their blocks in the order in which they entered
                    objective.evaluate(X, gradient=True)
                    assert torch.is_grad_enabled() is own
                    assert np.geterr()["invalid"] == ("warn", "print")[own]
            assert torch.is_grad_enabled() is mode
            if seed == 3:
                raise ZeroDivisionError
            return {}

    filters = list(warnings.filters)
    for seeds, ends in [([0, 1, 2], False), ([1, 2, 3, 4], True)]:
        with torch.set_grad_enabled(mode), np.errstate(over="raise"):
            if ends:
                with pytest.raises(ZeroDivisionError):
                    minimize_folds(Modes, Plain(), 100, seeds)
            else:
                minimize_folds(Modes, Plain(), 100, seeds)
            assert torch.is_grad_enabled() is mode
        assert warnings.filters == filters


def test_a_function_may_itself_minimize_in_lockstep():
    def inner(X: torch.Tensor) -> torch.Tensor:
        results = minimize_folds(get_optimizer("random"), Plain(), 10, range(len(X)))
        return X.sum(1) + torch.tensor([result.fun for result in results], dtype=torch.float64)

    inner.bounds = Plain.bounds
    hub = getcurrent()
    assert all(math.isfinite(r.fun) for r in minimize_folds(get_optimizer("random"), inner, 20, [0, 1]))
    assert getcurrent() is hub
