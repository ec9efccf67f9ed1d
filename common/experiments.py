"""The command of every stage: ``python -m papers.<paper>.experiments NAME`` runs one experiment and writes its rows."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from common.cluster import BACKENDS, ClusterError, computing_on
from common.parallel import map_tasks
from common.params import read_section
from common.reporting.rows import Row, write_rows
from common.reporting.timing import record_time
from common.training.hashing import code_hash
from common.training.rundir import RunDirectory

REQUIRED = ("seed", "replicates")  # in the section of every experiment


def experiment_command(paper: str, names: Sequence[str], args: Sequence[str] | None = None) -> None:
    """Run the experiment that the command line names and write ``papers/<paper>/results/<name>.csv``.

    An experiment is a module ``papers.<paper>.experiments.<name>`` with ``run(params, cache) -> rows``: ``params`` is
    its section of params.yaml and always has ``seed`` and ``replicates``; ``cache`` is a folder for what is finished,
    so that a killed experiment goes on; it is another one when a dependency of the experiment's stage in dvc.yaml or
    a parameter changes. Once the rows are written the cache is deleted.

    Args:
        args: the command line's words; None for those of this process.

    Raises:
        SystemExit: bad usage, parameters that cannot be read, or a cluster that cannot be used.
    """
    parser = argparse.ArgumentParser(prog=f"python -m papers.{paper}.experiments", description="Run one experiment.")
    parser.add_argument("name", choices=names, help="the experiment, one a table or figure")
    parser.add_argument("--fresh", type=int, metavar="SEED", help="another seed than the one in params.yaml")
    parser.add_argument("--replicates", type=_count, metavar="K", help="another number of replicates")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the rows there; default: the paper's results")
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=os.environ.get("GLOBOPT_BACKEND", "loky"),
        help="where tasks are computed: in processes of this machine, or on a Dask cluster (default: %(default)s)",
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", default=os.environ.get("GLOBOPT_ADDRESS"), help="Dask's scheduler"
    )
    options = parser.parse_args(args)
    folder = Path("papers") / paper
    try:
        params = read_section(folder / "params.yaml", options.name, REQUIRED)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if options.fresh is not None:
        params["seed"] = options.fresh
    if options.replicates is not None:
        params["replicates"] = min(options.replicates, params["replicates"])
    experiment = import_module(f"papers.{paper}.experiments.{options.name}")
    run = RunDirectory(paper, options.name, params, code_hash(*_dependencies(folder, options.name)))
    cache = run.path / "tasks"
    timed = options.out is None and options.backend == "loky"  # a cluster's time is not this machine's
    try:
        with computing_on(options.backend, options.address), run.lock():
            with record_time(paper, options.name) if timed else nullcontext():
                rows = experiment.run(params, cache)
            write_rows((options.out or folder / "results") / f"{options.name}.csv", rows)
            shutil.rmtree(cache, ignore_errors=True)
    except ClusterError as error:
        sys.exit(f"error: {error}")


def _count(word: str) -> int:
    count = int(word)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {count}")
    return count


def map_rows(
    function: Callable[[dict[str, Any], Path, Any], list[Row]],
    params: dict[str, Any],
    cache: Path,
    tasks: Sequence[tuple[object, ...]],
) -> list[Row]:
    """Return the rows of ``function(params, cache, task)`` for all tasks, in several processes, in order.

    A task is a tuple of words and numbers, which also name it; ``cache`` keeps the rows of each that is finished.
    """
    rows = map_tasks(partial(function, params, cache), tasks, key=lambda task: "-".join(map(str, task)), cache=cache)
    return [row for part in rows for row in part]


def _dependencies(folder: Path, name: str) -> list[Path]:
    """Return what the experiment's stage depends on: only then does a change make finished tasks worthless."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [Path(dependency) for dependency in stages[name]["deps"]]
