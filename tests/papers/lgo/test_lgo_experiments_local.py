"""The experiments on local search: peers equal to other implementations, measures by hand, rows and figures."""

from __future__ import annotations

import copy
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from experiment_rows import run
from scipy.optimize import check_grad

from common.functions.gaussians import GaussianFamily, Quadratics
from common.objective import Objective
from papers.lgo import figures, train
from papers.lgo.experiments import local_search, local_search_ablation, local_search_general
from papers.lgo.experiments.descents import Method, classical, drawn, measured
from papers.lgo.experiments.dfp import DFPNet
from papers.lgo.experiments.dnets import train_dnet
from papers.lgo.experiments.general_functions import FUNCTIONS, Search
from papers.lgo.local_search import local_search as search
from papers.lgo.model import iterations_to_tolerance, load_dnet, preset

PARAMS = yaml.safe_load((Path(train.__file__).parent / "params.yaml").read_text())
SMALL = {"data": {"batch_size": 8, "steps_per_epoch": 2, "validation": 10}, "trainer": {"max_epochs": 1}}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")


def small(section, **changed):
    """Return a section of params.yaml with small trainings."""
    params = copy.deepcopy(PARAMS[section]) | changed
    for net in [*params.get("nets", {}).values(), *([params["net"]] if "net" in params else [])]:
        for part, settings in SMALL.items():
            net[part] = net[part] | settings
    return params


def dfp_reference(functions, x, steps):
    """Return the points of the textbook DFP by exact line search on one function."""
    H, points = np.eye(len(x)), [x]
    (_, g) = functions.gap_and_gradient(torch.tensor(x)[None])
    g = g[0].numpy()
    for _ in range(steps):
        d = -H @ g
        step = float(functions.exact_step(torch.tensor(x)[None], torch.tensor(d)[None]))
        s = step * d
        x = x + s
        new = functions.gap_and_gradient(torch.tensor(x)[None])[1][0].numpy()
        y, g = new - g, new
        H = H - np.outer(H @ y, H @ y) / (y @ H @ y) + np.outer(s, s) / (s @ y)
        points.append(x)
    return np.array(points)


# --- peers ---


def test_dfp_is_the_textbook_one_and_by_exact_line_search_bfgs():
    functions, start = GaussianFamily(4).sample(3, range(6))
    runs = [torch.stack([p.x for p in islice(net.iterates(functions, start, "last"), 7)]) for net in (
        DFPNet(2), preset("bfgs"))]  # fmt: skip
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=1e-7)
    for i in range(6):
        reference = dfp_reference(functions[i : i + 1], start[i].numpy(), 6)
        np.testing.assert_allclose(runs[0][:, i], reference, atol=1e-9)


def test_dfp_by_inexact_line_search_is_another_method_that_solves_too():
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    found = {}
    for name in ("bfgs", "dfp"):
        method = classical(2)[name]
        (case,) = [Search(case.function, start) for case in FUNCTIONS["rosenbrock"](2, 0, 1)]
        found[name] = search(
            Objective(case.function, (-5, 5), dim=2), start, method.net, tail="last", slope_tolerance=0.5
        )
        assert found[name].value < 1e-12
    assert found["bfgs"].steps != found["dfp"].steps


def test_scipys_methods_are_counted_and_end_at_the_tolerance(monkeypatch):
    (case,) = FUNCTIONS["log-sum-exp"](4, 1, 1)
    asked = []

    def recorded(X):
        asked.append(X.detach().clone())
        return case.function(X)

    for name in local_search_general.SCIPY:
        asked.clear()
        cost = local_search_general.scipys(name, Search(recorded, case.start), 500)
        x = asked[-1].requires_grad_()
        (gradient,) = torch.autograd.grad(case.function(x).sum(), x)
        assert cost.solved
        assert float(gradient.norm()) <= 1e-6
        assert cost.gradients == len(asked) >= cost.iterations > 1
        spent = local_search_general.scipys(name, case, 3)
        assert (spent.gradients, spent.solved) == (3, False)
    ours = local_search_general.ours(classical(4)["bfgs"], case, 500)
    assert ours.solved
    assert local_search_general.summary([ours, spent], 500)["gradients"] == (ours.gradients + 500) / 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_general_functions_are_smooth_and_keyed(name):
    d = {"logistic regression": 31, "beale": 2}.get(name, 4)
    cases, again = FUNCTIONS[name](d, 5, 2), FUNCTIONS[name](d, 5, 3)
    assert not torch.equal(cases[0].start, cases[1].start)
    for one, two in zip(cases, again, strict=False):
        X = torch.stack([one.start, one.start + 0.1])
        torch.testing.assert_close(one.function(X), two.function(X))
        objective = Objective(one.function, (-100, 100), dim=d)
        error = check_grad(
            lambda x, o=objective: float(o(torch.tensor(x)[None])),
            lambda x, o=objective: o.value_and_gradient(torch.tensor(x)[None])[1][0].numpy(),
            one.start.numpy(),
        )
        assert error < 1e-5 * (1 + float(objective.value_and_gradient(one.start[None])[1].norm()))


def test_logistic_regression_is_scikit_learns():
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    data = load_breast_cancer()
    (case,) = FUNCTIONS["logistic regression"](31, 0, 1)
    X = np.hstack([StandardScaler().fit_transform(data.data), np.ones((len(data.data), 1))])
    reference = LogisticRegression(C=1 / (1e-3 * len(X)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    weights = torch.tensor(reference.fit(X, data.target).coef_)
    found = search(Objective(case.function, (-1e6, 1e6), dim=31), case.start, preset("bfgs", 10), tail="last")
    torch.testing.assert_close(found.x, weights[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="30 features"):
        FUNCTIONS["logistic regression"](10, 0, 1)


# --- measures ---


def test_measures_are_those_of_the_model():
    functions, start = drawn({"condition": 100.0}, 5, 2, 40)
    for name, method in classical(5).items():
        found = measured(method, functions, start, steps=6, limit=100)
        if method.pairs is None:
            needed = iterations_to_tolerance(method.net, functions, start, method.tail, limit=100)
            assert found["iterations"] == pytest.approx(float(needed.double().mean()))
            assert found["solved"] == pytest.approx(100 * float((needed < 100).double().mean()))
        *_, last = islice(method.net.iterates(functions, start, method.tail, pairs=method.pairs), 7)
        assert found["gap"] == pytest.approx(float(last.gap.mean()), rel=1e-6, abs=1e-20), name
        assert found["log_gap"] == pytest.approx(float(last.gap.clamp(min=1e-16).log10().mean()), abs=1e-6)


def test_a_limited_memory_of_all_pairs_is_bfgs_and_the_quadratics_those_of_the_exponents():
    functions, start = drawn({"condition": 100.0, "quadratic": True}, 5, 2, 20)
    assert type(functions) is Quadratics
    full, limited = Method(preset("bfgs")), Method(preset("bfgs"), pairs=50)
    assert measured(full, functions, start, 4, 50) == pytest.approx(measured(limited, functions, start, 4, 50))
    gaussians, same = drawn({"condition": 100.0}, 5, 2, 20)
    assert torch.equal(start, same)
    assert torch.equal(functions.matrices, gaussians.matrices)


def test_seed_0_is_the_training_of_the_shipped_net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [f"--data.{key}={value}" for key, value in SMALL["data"].items()]
    trained = train.main([*flags, "--trainer.max_epochs", "1", "--trainer.logger", "false"])
    shipped = load_dnet(trained.run.path / "weights" / "dnet.safetensors")
    settings = small("local_search")["nets"]["gdnet log"]
    net = train_dnet(settings, 0, tmp_path, "net")
    assert torch.equal(net.w, shipped.w)
    assert torch.equal(net.rho, shipped.rho)
    other = train_dnet(settings, 1, tmp_path, "net")
    assert not torch.equal(net.w, other.w)


@pytest.mark.parametrize("learned", ["w", "rho", "shared"])
def test_partial_training_moves_what_it_should(tmp_path, learned):
    params = small("local_search_ablation")
    net = train_dnet(
        params["net"], 0, tmp_path, "net", lambda **model: local_search_ablation.PartialModule(learned, **model)
    )
    ones = {name: bool((parameter == 1).all()) for name, parameter in net.named_parameters()}
    assert ones == {"w": learned == "rho", "rho": learned == "w"}
    shared = {name: bool((parameter == parameter[0]).all()) for name, parameter in net.named_parameters()}
    assert shared == ({"w": True, "rho": True} if learned == "shared" else {name: ones[name] for name in ones})


# --- experiments and figures ---


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The rows of the three experiments, small."""
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        exact = small("local_search", replicates=2, functions=4, limit=15, steps=3)
        exact["problems"] = {name: law | {"dims": law["dims"][:1]} for name, law in exact["problems"].items()}
        general = small("local_search_general", replicates=1, starts=1, limit=30)
        ablation = small("local_search_ablation", replicates=2, functions=4, limit=15, dims=[2, 5])
        ablation["variants"] = {name: ablation["variants"][name] for name in ("as shipped", "T = 5", "only rho")}
        return (
            run(local_search, folder, exact),
            run(local_search_general, folder, general),
            run(local_search_ablation, folder, ablation),
        )


def test_methods_see_the_same_functions_and_replicates_others(rows):
    exact, general, ablation = rows
    assert set(exact["problem"]) == set(PARAMS["local_search"]["problems"])
    assert exact["method"].nunique() == 6 + 2 * 3
    assert general["method"].nunique() == 6 + 2 * 2 + 3
    gaps = exact[(exact["metric"] == "gap") & (exact["problem"] == "gaussian")].set_index("method")["value"]
    assert gaps["bfgs"].nunique() == 2
    for replicate in range(2):
        of_both = exact[(exact["replicate"] == replicate) & (exact["metric"] == "gap")]
        table = of_both.pivot(index=["problem", "d"], columns="method", values="value")
        pd.testing.assert_series_equal(table["bfgs"], table["dfp"], check_names=False, rtol=1e-3)
    as_shipped = ablation[(ablation["metric"] == "gap") & (ablation["method"] == "as shipped") & (ablation["d"] == 5)]
    assert as_shipped["value"].nunique() == 2


def test_a_replicate_does_not_depend_on_the_other_problems(rows, tmp_path):
    exact, *_ = rows
    params = small("local_search", replicates=1, functions=4, limit=15, steps=3)
    params["problems"] = {"gaussian": {"dims": [2], "law": {"condition": 100.0}}}
    again = run(local_search, tmp_path, params)
    same = exact[(exact["problem"] == "gaussian") & (exact["replicate"] == 0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, same)


def test_figures_draw_every_method(rows):
    exact, general, ablation = rows
    (axis,) = figures.local_search_figure(exact).axes
    assert set(axis.get_legend_handles_labels()[1]) == {*figures.DESCENTS.values(), "BFGS"}
    assert len(axis.get_yticks()) == len(PARAMS["local_search"]["problems"])
    assert len(figures.general_figure(general).axes[0].get_yticks()) == len(PARAMS["local_search_general"]["problems"])
    left, _ = figures.ablation_figure(ablation).axes
    assert {label.get_text() for label in left.get_yticklabels()} == {"as shipped", "T = 5", "only rho"}
