"""Virtual searches beside library methods: what is counted, the functions, the rows."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from experiment_rows import run
from scipy.optimize import approx_fprime

from common.objective import Objective
from papers.lgo import search_figures, train
from papers.lgo.experiments import plus_local_search
from papers.lgo.experiments.general_functions import FUNCTIONS, Search
from papers.lgo.experiments.plus_local_search import METHODS, gradients

PARAMS = yaml.safe_load((Path(train.__file__).parent / "params.yaml").read_text())["plus_local_search"]


@pytest.mark.parametrize(
    ("name", "minimizer"),
    [("beale", [3.0, 0.5]), ("powell", [0.0] * 8), ("trigonometric", [0.0] * 6), ("brown", [1.0] * 5)],
)
def test_functions_have_their_minima_and_gradients(name, minimizer):
    (case,) = FUNCTIONS[name](len(minimizer), 3, 1)
    objective = Objective(case.function, (-100, 100), dim=len(minimizer))
    value, gradient = objective.value_and_gradient(torch.tensor([minimizer], dtype=torch.float64))
    assert float(value) == pytest.approx(0, abs=1e-24)
    assert gradient[0].tolist() == pytest.approx([0] * len(minimizer), abs=1e-10)
    _, gradient = objective.value_and_gradient(case.start[None])
    differences = approx_fprime(case.start.numpy(), lambda x: float(objective(torch.tensor(x)[None])), 1e-7)
    np.testing.assert_allclose(gradient[0], differences, rtol=1e-4, atol=1e-4 * float(gradient.norm()))


def test_functions_have_the_values_of_the_literature():
    known = {"beale": ([1.0, 1.0], 14.203125), "powell": ([3.0, -1.0, 0.0, 1.0], 215.0)}
    for name, (x, value) in known.items():
        (case,) = FUNCTIONS[name](len(x), 0, 1)
        assert float(case.function(torch.tensor([x], dtype=torch.float64))) == value
    for name, d in (("beale", 3), ("powell", 6)):
        with pytest.raises(ValueError, match="variables"):
            FUNCTIONS[name](d, 0, 1)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_counted_to_the_first_solution(name):
    asked = []

    def recorded(X):
        asked.append(X.detach().clone())
        return case.function(X)

    (case,) = FUNCTIONS["log-sum-exp"](4, 1, 1, terms=12)
    number = gradients(METHODS[name], Search(recorded, case.start), math.inf, 200)
    norms = []
    for x in asked:
        (gradient,) = torch.autograd.grad(case.function(x.requires_grad_()).sum(), x)
        norms.append(float(gradient.norm()))
    assert number == len(asked) > 3
    assert norms[-1] <= 1e-6 < min(norms[:-1])
    assert gradients(METHODS[name], case, math.inf, 3) == 3
    assert gradients(METHODS[name], case, -math.inf, 50) == 50


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    params = copy.deepcopy(PARAMS) | {"replicates": 2, "limit": 30}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        return run(plus_local_search, tmp_path_factory.mktemp("rows"), params)


def test_ratios_are_those_of_the_same_instances(rows):
    table = rows.pivot(index=["problem", "d", "replicate"], columns=["metric", "method"], values="value")
    assert len(table) == 2 * (sum(len(law["dims"]) for law in PARAMS["laws"].values()) + len(PARAMS["functions"]))
    assert set(table["gradients"].columns) == set(METHODS)
    ratio = np.log(table["gradients"]["virtual"] / table["gradients"]["scipy bfgs"])
    np.testing.assert_allclose(table["log_ratio"]["virtual"], ratio, rtol=1e-3, atol=1e-4)
    assert table["gradients"].max().max() <= 30


def test_the_figure_has_a_line_for_every_family(rows):
    (axis,) = search_figures.ratios_figure(rows).axes
    assert len(axis.get_yticks()) == len(rows.groupby(["problem", "d"]))
    assert set(search_figures.METHODS.values()) < set(axis.get_legend_handles_labels()[1])
