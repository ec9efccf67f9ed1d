"""The front door and the registry."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import torch

from common.objective import GradientUnavailable, Objective
from common.optimizers import get_optimizer, methods, minimize
from common.optimizers.auto import Auto
from common.optimizers.random import RandomSearch


def bowl(X: torch.Tensor) -> torch.Tensor:
    return ((X - 0.25) ** 2).sum(1)


def test_result_is_scipys_and_complete():
    result = minimize(bowl, (-1, 1), "lbfgs", 60, 0, dim=2)
    assert isinstance(result, scipy.optimize.OptimizeResult)
    assert {"x", "fun", "nfev", "njev", "nit", "success", "status", "message", "history"} <= set(result)
    assert (result.nfev, result.njev, result.nit) == (60, 60, 60)
    np.testing.assert_allclose(result.x, 0.25, atol=1e-5)


def test_the_same_function_in_every_form_gives_the_same_result():
    forms = [
        {"fun": bowl},
        {"fun": bowl, "jac": lambda X: 2 * (X - 0.25)},
        {"fun": lambda x: float(((x - 0.25) ** 2).sum()), "jac": lambda x: 2 * (x - 0.25), "vectorized": False},
        {"fun": lambda x: (float(((x - 0.25) ** 2).sum()), 2 * (x - 0.25)), "jac": True, "vectorized": False},
        {"fun": lambda X: X - 0.25, "scalarize": lambda outputs: (outputs**2).sum(1)},
    ]
    results = [minimize(bounds=(-1, 1), method="lbfgs", budget=40, rng=0, dim=2, **form) for form in forms]
    for result in results:
        np.testing.assert_allclose(result.x, results[0].x, atol=1e-9)
        assert result.nfev == 40


def test_gradient_cost_is_the_same_for_every_first_order_method():
    for method in [name for name in methods() if get_optimizer(name).needs_gradient]:
        objective = Objective(bowl, (-1, 1), dim=2, gradient_cost=2)
        result = minimize(objective, method=method, budget=100, rng=0)
        assert result.nfev == objective.points + result.njev  # some ask for values alone as well
        assert result.nfev in {99, 100}  # a gradient does not fit into what is left


@pytest.mark.parametrize("rng", [3, np.int64(3), np.random.default_rng(3), torch.Generator().manual_seed(3), None])
def test_every_kind_of_rng(rng):
    assert minimize(bowl, (-1, 1), "random", 50, rng, dim=2).nfev == 50


def test_generators_are_advanced():
    rng = np.random.default_rng(0)
    first, second = (minimize(bowl, (-1, 1), "random", 50, rng, dim=2).x for _ in range(2))
    assert (first != second).any()
    assert (minimize(bowl, (-1, 1), "random", 50, np.random.default_rng(0), dim=2).x == first).all()


def test_auto_chooses_by_gradient_and_counts_its_question():
    for fun, kwargs, budget, chosen in [
        (bowl, {}, 300, "gennes_hop"),
        (lambda X: bowl(X.detach()), {}, 300, "bipop"),
        (lambda x: float(((x - 0.25) ** 2).sum()), {"vectorized": False}, 300, "bipop"),
        (
            lambda x: float(((x - 0.25) ** 2).sum()),
            {"vectorized": False, "jac": lambda x: 2 * (x - 0.25)},
            300,
            "gennes_hop",
        ),
    ]:
        seen = []

        def counted(X, fun=fun, seen=seen):
            seen.append(1 if X.ndim == 1 else len(X))
            return fun(X)

        auto = Auto()
        result = minimize(counted, (-1, 1), auto, budget, 0, dim=2, **kwargs)
        assert auto.chosen == chosen
        assert sum(seen) == result.nfev <= budget
        assert result.fun < 1e-3


def test_own_optimizer_needs_no_registration():
    assert minimize(bowl, (-1, 1), RandomSearch(population=7), 70, 0, dim=2).nit == 10
    with pytest.raises(TypeError, match="settings already"):
        minimize(bowl, (-1, 1), RandomSearch(), 70, 0, dim=2, population=7)


def test_unknown_method_lists_those_that_there_are():
    with pytest.raises(ValueError, match=r"'adam'; there are: annealing, auto, .*snes"):
        minimize(bowl, (-1, 1), "adam", dim=2)


def test_gradient_refusal_names_the_methods_without():
    with pytest.raises(
        GradientUnavailable, match=r"'lbfgs' needs gradients: .*without: auto, bipop, cbo, cmaes"
    ) as caught:
        minimize(lambda X: bowl(X.detach()), (-1, 1), "lbfgs", 50, 0, dim=2)
    assert caught.value.result.nfev == 1


def test_callback_sees_the_run_and_may_stop_it():
    seen = []

    def callback(result):
        seen.append((result.nfev, result.fun))
        return result.nfev >= 300

    result = minimize(bowl, (-1, 1), "random", 1000, 0, dim=2, callback=callback)
    assert [nfev for nfev, _ in seen] == [100, 200, 300]
    assert (result.status, result.nfev, result.message) == (3, 300, "stopped by the callback")
    assert seen[-1][1] == result.fun


def test_progress_is_silent_where_there_is_no_terminal(capsys):
    minimize(bowl, (-1, 1), "random", 300, 0, dim=2, progress=True)
    assert capsys.readouterr().out == ""


def test_progress_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    calls = []
    minimize(bowl, (-1, 1), "random", 300, 0, dim=2, progress=True, callback=lambda result: calls.append(result.nfev))
    assert "random" in capsys.readouterr().out
    assert calls == [100, 200, 300]


def test_objective_as_function_keeps_its_settings_and_can_be_used_again():
    objective = Objective(bowl, (-1, 1), dim=2, gradient_cost=2)
    first = minimize(objective, method="lbfgs", budget=30, rng=1)
    second = minimize(objective, method="lbfgs", budget=30, rng=1)
    assert first.nfev == second.nfev == 30
    assert (first.x == second.x).all()


def test_a_third_partys_method_is_found_by_its_entry_point(tmp_path):
    """Install nothing but a module and a dist-info with one entry point, as a wheel would."""
    (tmp_path / "third_party.py").write_text(
        "from common.optimizers.random import RandomSearch\nclass Mine(RandomSearch):\n    pass\n"
    )
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[global_optimizers]\nmine = third_party:Mine\nwrong = third_party:__name__\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from common.optimizers import get_optimizer, methods, minimize\n"
        "assert 'mine' in methods()\n"
        "print(minimize(lambda X: (X**2).sum(1), (-1, 1), 'mine', 50, 0, dim=2).nfev)\n"
        "try:\n    get_optimizer('wrong')\nexcept TypeError as error:\n    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[0] == "50"
    assert "is no Optimizer" in out


def test_importing_the_front_door_stays_light():
    heavy = ("lightning", "botorch", "dvc", "cma")
    code = f"import sys, papers, common.objective; print(*[m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""
