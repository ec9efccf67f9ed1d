"""``globopt methods``: what there is, and the settings of each."""

from __future__ import annotations

import argparse
import inspect

from common.optimizers import get_optimizer, methods
from papers.cli import DONE, UsageError


def run(options: argparse.Namespace) -> int:
    """List the methods, or describe one."""
    if options.method is None:
        needs = {True: "gradients", False: "values"}
        rows = [(name, needs[method.needs_gradient], method.summary) for name, method in methods().items()]
        print(aligned([("METHOD", "NEEDS", "WHAT IT DOES"), *rows]))
        return DONE
    try:
        cls = get_optimizer(options.method)
    except ValueError as error:
        raise UsageError(str(error)) from error
    settings = [str(parameter) for parameter in inspect.signature(cls).parameters.values()]
    print(inspect.getdoc(cls), "", f"--set takes: {'; '.join(settings) or 'nothing'}", sep="\n")
    return DONE


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Return rows of words as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
