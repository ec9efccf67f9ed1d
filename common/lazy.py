"""Packages that import what they hand on when it is first asked for (PEP 562), so that nobody waits for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        names: module -> what is handed on from it.
    """
    modules = {name: module for module, handed_on in names.items() for name in handed_on}

    def import_on_demand(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return import_on_demand
