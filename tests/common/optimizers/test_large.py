from __future__ import annotations

import numpy as np
import pytest
import torch

from common.optimizers import methods, minimize

# Settings that make the slow ones quick; everything else is the method's default.
OPTIONS = {"evolution": {"popsize": 1}, "gradpie": {"hidden": (16, 16), "epochs": 1}}
VARIABLES, BUDGET = 1000, 60


@pytest.mark.parametrize("method", methods())
def test_a_thousand_variables_are_searched(method):
    def bumpy(X):
        return (X.square() + 1 - torch.cos(3 * X)).sum(1)

    result = minimize(bumpy, (-5, 5), method, BUDGET, 0, dim=VARIABLES, **OPTIONS.get(method, {}))
    assert result.nfev <= BUDGET
    assert result.x.shape == (VARIABLES,)
    assert np.abs(result.x).max() <= 5
    assert float(bumpy(torch.from_numpy(result.x)[None])) == pytest.approx(result.fun)
    assert result.history[-1, 1] == result.fun


def test_ten_million_evaluations_keep_a_short_history():
    result = minimize(lambda X: X.square().sum(1), (-1, 1), "random", 10**7, 0, dim=2, population=10**5)
    assert result.nfev == 10**7
    assert len(result.history) < 100  # one row an improvement: their number grows as the logarithm
    assert result.fun < 1e-5
