"""Table 2: do the formulas as printed have the minimum 0 that the paper states?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.functions import make_function
from common.objective import Objective
from common.optimizers.lbfgs import MultistartLBFGS
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.gennes.problems import HALF_WIDTHS

DIM = 2


def rastrigin(X: Tensor) -> Tensor:
    """As printed."""
    return 10 * DIM + (X**2 - 10 * (2 * math.pi * X).cos()).sum(-1)


def ackley(X: Tensor) -> Tensor:
    """As printed: no 2 pi in the cosine."""
    radius = torch.linalg.vector_norm(X, dim=-1) / math.sqrt(DIM)
    return -20 * (-0.2 * radius).exp() - X.cos().mean(-1).exp() + 20 + math.e


def styblinski_tang(X: Tensor) -> Tensor:
    """As printed: the factor 1/2 stands before the first term, and there is no constant."""
    return (X**4 / 2 - 16 * X**2 + 5 * X).sum(-1)


def schwefel(X: Tensor) -> Tensor:
    """As printed: another constant and no absolute value, so that there is no value for x < 0."""
    return 418.9928 * DIM - (X * X.sqrt().sin()).sum(-1)


def alpine1(X: Tensor) -> Tensor:
    """As printed: no absolute value."""
    return (X * X.sin() + 0.1 * X).sum(-1)


PRINTED = {
    "rastrigin": rastrigin, "ackley": ackley, "styblinski_tang": styblinski_tang, "schwefel": schwefel,
    "alpine1": alpine1,
}  # fmt: skip


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search each formula's minimum by repeated L-BFGS in two dimensions; report how far it is from 0."""
    rows: list[Row] = []
    for name, printed in PRINTED.items():
        half_width = HALF_WIDTHS[name]
        # where the printed Schwefel has values; a hair above 0, for its gradient is infinite there
        lower = 1e-6 if name == "schwefel" else -half_width
        standard = make_function(name, DIM, bounds=(-half_width, half_width))
        objectives = {
            "printed": Objective(printed, (lower, half_width), dim=DIM),
            "standard": Objective(standard, (-half_width, half_width), dim=DIM),
        }
        for method, objective in objectives.items():
            for replicate in range(params["replicates"]):
                seed = key_seed(params["seed"], name, replicate)
                result = MultistartLBFGS().minimize(objective, params["budget"], seed)
                rows.append(
                    {"experiment": "table2", "problem": name, "d": DIM, "method": method, "replicate": replicate,
                     "evaluations": params["budget"], "metric": "minimum", "value": abs(result.fun)}
                )  # fmt: skip
    return rows
