"""Methods by name: whatever installed packages list under the entry-point group ``global_optimizers``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from common.optimizers.base import Optimizer

GROUP = "global_optimizers"


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def methods() -> list[str]:
    """Return the names of all installed methods, sorted."""
    return sorted(_entries())


def get_optimizer(name: str) -> type[Optimizer]:
    """Return the optimizer class registered as ``name``.

    Raises:
        ValueError: no such method; the message lists those that there are.
        TypeError: what the entry point names is no `Optimizer`.
    """
    if name not in _entries():
        raise ValueError(f"no method named {name!r}; there are: {', '.join(methods())}")
    cls = _entries()[name].load()
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise TypeError(f"entry point {name!r} of group {GROUP!r} is no Optimizer: {cls!r}")
    return cls


def gradient_free_methods() -> list[str]:
    """Return the names of the methods that work without gradients."""
    return [name for name in methods() if not get_optimizer(name).needs_gradient]
