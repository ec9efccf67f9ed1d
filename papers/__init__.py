"""Four papers on learned global optimization, rebuilt; and their methods, for your own function or your own samples.

>>> from papers import minimize
>>> minimize(lambda X: (X**2).sum(1), (-5, 5), dim=3, method="lbfgs", budget=100, rng=0).fun < 1e-8
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.optimizers import history_frame, methods, minimize
    from papers.refine1d.find import find_minimum

__all__ = ["find_minimum", "history_frame", "methods", "minimize"]

_MODULES = {
    "find_minimum": "papers.refine1d.find",
    "history_frame": "common.optimizers",
    "methods": "common.optimizers",
    "minimize": "common.optimizers",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: the command line's help must not wait for torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
