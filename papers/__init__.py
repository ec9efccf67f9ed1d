"""Four papers on learned global optimization, rebuilt; and their methods, for your own function or your own samples.

>>> from papers import minimize
>>> minimize(lambda X: (X**2).sum(1), (-5, 5), dim=3, method="lbfgs", budget=100, rng=0).fun < 1e-8
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lazy import lazily

if TYPE_CHECKING:
    from common.optimizers import history_frame, methods, minimize
    from papers.refine1d.find import find_minimum

__all__ = ["find_minimum", "history_frame", "methods", "minimize"]

# the command line's help must not wait for torch
__getattr__ = lazily(
    __name__,
    {"papers.refine1d.find": ["find_minimum"], "common.optimizers": ["history_frame", "methods", "minimize"]},
)
