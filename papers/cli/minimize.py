"""``globopt minimize``: one run, its best point, its curve."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from scipy.optimize import OptimizeResult

from common.objective import GradientUnavailable, Objective, ObjectiveError
from common.optimizers import MethodError, history_frame, minimize
from common.reporting.files import write_text
from papers.cli import DONE, FAILED, UsageError
from papers.cli.problem import Problem

FAILURE = -1
"""The status of a result where the function failed."""


def run(options: argparse.Namespace) -> int:
    """Run a method once; print its best point and save what ``--out`` asks for."""
    problem = Problem.from_options(options)
    objective = problem.objective()
    settings = parse_settings(options.settings)
    make_folder(options.out)
    print(f"{problem}, d = {objective.dim}, {options.method}, seed {options.seed}")
    result = guarded_minimize(
        objective, options.method, options.budget, options.seed, settings, target=options.target, progress=True
    )
    if result.status < 0:
        who = "the function failed: " if result.status == FAILURE else ""
        print(f"{who}{result.message}", file=sys.stderr)
    if result.x is None:
        if result.status == FAILURE and not problem.one_point:
            print("if it takes one point, a NumPy vector, say --one-point", file=sys.stderr)
        return FAILED
    print(f"value        {result.fun:.10g}")
    print(f"point        {' '.join(f'{coordinate:.10g}' for coordinate in result.x)}")
    print(f"evaluations  {result.nfev}, {result.njev} of them with gradient")
    print(f"ended by     {result.message}")
    if options.out is not None:
        print(f"saved        {', '.join(map(str, _save(result, problem, options)))}")
    return DONE if result.success else FAILED


def guarded_minimize(
    objective: Objective,
    method: str,
    budget: int,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    *,
    target: float | None = None,
    progress: bool = False,
) -> OptimizeResult:
    """Minimize and return a result whatever the function does; what it prints goes to the standard error.

    Raises:
        UsageError: no such method or setting, or the method can't be used on this function.
    """
    try:
        with redirect_stdout(sys.stderr):
            return minimize(
                objective, method=method, budget=budget, rng=seed, target=target, progress=progress, **(settings or {})
            )
    except GradientUnavailable as error:
        raise UsageError(str(error).replace("jac=", "--jac")) from error
    except (ObjectiveError, MethodError) as error:
        return error.result
    except SystemExit as error:
        return objective.result(FAILURE, f"it called sys.exit({error.code!r})")
    except (ValueError, TypeError) as error:
        raise UsageError(f"{error} (the settings of a method: globopt methods METHOD)") from error


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` words as keyword arguments; a value that is no Python literal is a word.

    >>> parse_settings(["lr=1e-3", "init=normal"])
    {'lr': 0.001, 'init': 'normal'}

    Raises:
        UsageError: a word has no ``=``, or names what is no setting of a method.
    """
    arguments: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set wants NAME=VALUE, not {setting!r}")
        if name in inspect.signature(minimize).parameters:
            raise UsageError(f"--set is for the settings of a method, and {name!r} is none")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: brackets in brackets in ...
            arguments[name] = value
    return arguments


def make_folder(out: Path | None) -> None:
    """Make the folder before the run, for after it would be too late to say that it can't be made.

    Raises:
        UsageError: it can't be made.
    """
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # the second: a name that no file can have
            raise UsageError(f"--out: {error}") from error


def _save(result: OptimizeResult, problem: Problem, options: argparse.Namespace) -> list[Path]:
    from common.reporting.figures import save_figure
    from papers.cli.curves import draw_curves, run_curve

    facts = {
        "function": problem.function, "method": options.method, "settings": options.settings, "seed": options.seed,
        "budget": options.budget, "value": result.fun, "point": result.x.tolist(), "evaluations": result.nfev,
        "gradients": result.njev, "success": result.success, "message": result.message,
    }  # fmt: skip
    write_text(options.out / "result.json", f"{json.dumps(facts, indent=2)}\n")
    write_text(options.out / "history.csv", history_frame(result).to_csv(index=False, lineterminator="\n"))
    curve = run_curve(options.method, options.seed, result.history, result.nfev)
    save_figure(draw_curves(curve, str(problem)), options.out / "curve")
    return [options.out / name for name in ("result.json", "history.csv", "curve.svg", "curve.png")]
