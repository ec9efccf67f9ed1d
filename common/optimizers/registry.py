"""Methods by name: whatever installed packages list under the entry-point group ``global_optimizers``."""

from __future__ import annotations

import inspect
import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from common.optimizers.base import Optimizer

GROUP = "global_optimizers"


class Method(NamedTuple):
    """What a method needs and does, as its class says.

    Attributes:
        needs_gradient: whether it refuses functions without gradients.
        ask_tell: whether it can be driven by ``ask`` and ``tell``.
        summary: the first sentence of the class's documentation, which goes on with its settings.
    """

    needs_gradient: bool
    ask_tell: bool
    summary: str


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def methods() -> dict[str, Method]:
    """Return all installed methods by name, sorted; one whose package is broken is left out with a warning.

    >>> methods()["lbfgs"].needs_gradient, methods()["cmaes"].ask_tell
    (True, True)
    """
    found = {}
    for name in _entries():
        try:
            cls = get_optimizer(name)
        except Exception as error:  # whatever a third party's module raises
            warnings.warn(f"method {name!r} can't be loaded: {error}", stacklevel=2)
            continue
        summary = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
        found[name] = Method(cls.needs_gradient, cls.ask_tell, summary)
    return found


def get_optimizer(name: str) -> type[Optimizer]:
    """Return the optimizer class registered as ``name``.

    Raises:
        ValueError: no such method; the message lists those that there are.
        TypeError: what the entry point names is no `Optimizer`.
    """
    if name not in _entries():
        raise ValueError(f"no method named {name!r}; there are: {', '.join(_entries())}")
    cls = _entries()[name].load()
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise TypeError(f"entry point {name!r} of group {GROUP!r} is no Optimizer: {cls!r}")
    return cls


def gradient_free_methods() -> list[str]:
    """Return the names of the methods that work without gradients."""
    return [name for name, method in methods().items() if not method.needs_gradient]
