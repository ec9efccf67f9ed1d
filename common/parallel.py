"""Map a function over independent tasks in several processes, of this machine or of a cluster.

What is finished survives a failure or a kill.
"""

from __future__ import annotations

import json
import os
import pickle
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor

from common import cluster
from common.training.atomic import atomic_write

Task = TypeVar("Task")
Attempt = tuple[str | None, Exception | None]  # what a task wrote, or its failure


class TaskError(RuntimeError):
    """A task failed; its exception is the cause, and the results of all other tasks are in the cache."""


def map_tasks(
    function: Callable[[Task], Any],
    tasks: Sequence[Task],
    *,
    key: Callable[[Task], str],
    cache: Path | None,
    workers: int | None = None,
) -> list[Any]:
    """Return ``[function(task) for task in tasks]``, computed in several processes.

    They are processes of this machine, or within `common.cluster.computing_on` those of a cluster.

    Results are what JSON holds: numbers, strings, lists and dicts of them, such as the rows of a table; floats keep
    their bits, NaN and infinities included. NumPy and torch values become numbers and lists, tuples become lists.

    Args:
        key: names a task; the names differ from each other and serve as file names.
        cache: folder that keeps each result as soon as it is finished, so that a later call computes only what is
            missing. Its name must change with whatever the results depend on (``config_hash``). None keeps nothing.
        workers: number of processes; by default ``GLOBOPT_WORKERS`` or the number of cores. With more than one, each
            computes with one thread; with one, tasks run in this process. A cluster's are all used.

    Raises:
        TaskError: a task failed, after all the others were finished.
        ValueError: two tasks have the same name, or a name cannot be a file name.
    """
    names = [key(task) for task in tasks]
    _check_names(names)
    paths = [None if cache is None else Path(cache) / f"{name}.json" for name in names]
    results = {name: _read(path, name) for name, path in zip(names, paths, strict=True)}
    missing = {
        name: partial(_attempt, function, task, name, path)
        for task, name, path in zip(tasks, names, paths, strict=True)
        if results[name] is None
    }
    failures = []
    for name, (content, error) in zip(missing, _attempts(missing, workers), strict=True):
        results[name] = content
        if error is not None:
            failures.append((name, error))
    if failures:
        name, error = failures[0]
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise TaskError(f"task {name!r} failed{others}: {type(error).__name__}: {error}") from error
    return [json.loads(results[name] or "")["result"] for name in names]


def _attempts(missing: Mapping[str, Callable[[], Attempt]], workers: int | None) -> Iterable[Attempt]:
    """Make the attempts in worker processes; return what comes of them, in order."""
    if cluster.on_cluster():
        outcomes = cluster.outcomes(missing)
        return ((None, outcome) if isinstance(outcome, Exception) else outcome for outcome in outcomes)
    workers = min(workers or _default_workers(), max(len(missing), 1))
    options = {"inner_max_num_threads": 1} if workers > 1 else {}
    with joblib.parallel_config("loky" if workers > 1 else "sequential", n_jobs=workers, **options):
        attempts = joblib.Parallel(batch_size=1)(joblib.delayed(attempt)() for attempt in missing.values())
    if workers > 1:
        get_reusable_executor().shutdown()  # else idle workers keep their memory, and their CPU time is not ours yet
    return attempts


def _attempt(function: Callable[[Task], Any], task: Task, name: str, path: Path | None) -> Attempt:
    """Run one task in a worker; its failure is a value, so that it does not stop the others."""
    try:
        content = json.dumps({"task": name, "result": function(task)}, default=_plain)
        if path is not None:
            atomic_write(path, content.encode())
    except Exception as error:
        return None, _portable(error)
    return content, None


def _plain(value: Any) -> Any:
    if not hasattr(value, "tolist"):
        raise TypeError(f"a result holds a {type(value).__name__}, which JSON cannot hold")
    return value.tolist()


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, for tracebacks and some exceptions do not cross processes."""
    text = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(text)
    return error


def _read(path: Path | None, name: str) -> str | None:
    """Return the stored content, or None where there is none or where it is damaged."""
    if path is None:
        return None
    try:
        content = path.read_text()
        stored = json.loads(content)
    except (OSError, ValueError):
        return None
    return content if isinstance(stored, dict) and stored.get("task") == name and "result" in stored else None


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two tasks have the name {twice!r}")
    for name in names:
        if not name or name != Path(name).name:
            raise ValueError(f"the task name {name!r} cannot be a file name")


def _default_workers() -> int:
    text = os.environ.get("GLOBOPT_WORKERS", "")
    if not text:
        return joblib.cpu_count()
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"GLOBOPT_WORKERS must be a positive number, not {text!r}")
    return int(text)
