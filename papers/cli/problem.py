"""The function that the command line names, as an objective."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from common.objective import Objective
from papers.cli import UsageError


@dataclass(frozen=True)
class Problem:
    """What the options say about the function; unlike the function itself it can be sent to another process.

    Attributes:
        function, jac: names, see `load_function`.
        bounds: see `parse_bounds`; None for those that the function has as an attribute.
    """

    function: str
    bounds: str | None = None
    dim: int | None = None
    one_point: bool = False
    jac: str | None = None

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Self:
        """Return the problem that the options name."""
        return cls(options.function, options.bounds, options.dim, options.one_point, options.jac)

    def objective(self) -> Objective:
        """Import the function.

        Raises:
            UsageError: there is no such function, or its bounds are missing or wrong.
        """
        try:
            box = None if self.bounds is None else parse_bounds(self.bounds)
            if ":" not in self.function:
                from common.functions import make_function

                fun: Any = make_function(self.function, self.dim, box)
            else:
                fun = load_function(self.function)
            jac = None if self.jac is None else load_function(self.jac)
            if box is None and (box := getattr(fun, "bounds", None)) is None:
                raise ValueError('say the box with --bounds, such as --bounds "-5,5" --dim 10')
            return Objective(fun, box, dim=self.dim, jac=jac, vectorized=not self.one_point)
        except (ValueError, TypeError) as error:
            raise UsageError(str(error).replace("dim=", "--dim")) from error

    def __str__(self) -> str:
        return self.function.rpartition(":")[2]


def load_function(name: str) -> Callable[..., Any]:
    """Return the function ``module:function`` or ``path/to/file.py:function``; this folder comes first.

    What the module prints on import goes to the standard error.

    Raises:
        ValueError: it can't be imported.
    """
    module, _, attribute = name.rpartition(":")
    path = Path(module)
    if path.suffix == ".py":
        folder, module = path.parent.resolve(), path.stem
    else:
        folder = Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(sys.stderr):
            return attrgetter(attribute)(import_module(module))
    except (Exception, SystemExit) as error:  # whatever the user's module raises, also a script's sys.exit()
        raise ValueError(f"can't import {name}: {type(error).__name__}: {error}") from error


def parse_bounds(text: str) -> list[float] | list[list[float]]:
    """Return ``(low, high)`` for one pair, else ``2 x d``; ``text`` has pairs ``low,high``, or names a file of them.

    >>> parse_bounds("-5,5")
    [-5.0, 5.0]
    >>> parse_bounds("-5,5; 0,1")
    [[-5.0, 0.0], [5.0, 1.0]]

    Raises:
        ValueError: something is no pair of numbers.
    """
    if re.search("[A-Za-z]{2}", text):  # no number
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"--bounds: {error}") from error
    try:
        pairs = [[float(word) for word in pair.split(",")] for pair in re.split("[;\n]", text) if pair.strip()]
        lower, upper = (list(column) for column in zip(*pairs, strict=True))
    except ValueError as error:
        raise ValueError(f"--bounds wants LOW,HIGH pairs, separated by ';' or line ends, not {text!r}") from error
    return [lower[0], upper[0]] if len(pairs) == 1 else [lower, upper]
