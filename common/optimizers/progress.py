"""A progress bar for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scipy.optimize import OptimizeResult


@contextmanager
def progress_bar(
    name: str, budget: int, callback: Callable[[OptimizeResult], Any] | None
) -> Iterator[Callable[[OptimizeResult], Any]]:
    """Yield a callback that shows evaluations spent and the best value, then calls ``callback``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("best {task.fields[best]:.6g}")) as progress:
        task = progress.add_task(name, total=budget, best=float("inf"))

        def advance(result: OptimizeResult) -> Any:
            progress.update(task, completed=result.nfev, best=result.fun)
            return callback(result) if callback is not None else None

        yield advance
