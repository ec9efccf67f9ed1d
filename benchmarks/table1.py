"""GENNES's Table 1: the time of its own rows, and what the last run of the whole table took."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.runner import Benchmark, Measurement, Skipped
from common.params import read_section
from papers.gennes.experiments.training import train

GENNES_SECONDS = 6 * 60  # on one core
TABLE_SECONDS = 40 * 60  # on two cores
TABLE_MB = 2000
CORES = 2
ITERATIONS = 300  # of a short training
STAGES = ["table1_gennes", "table1_peers"]


def gennes_rows() -> Measurement:
    """Train shortly on every problem of the table and extrapolate; a repetition is one function in all dimensions."""
    params = read_section(Path("papers") / "gennes" / "params.yaml", "table1_gennes")
    budget = ITERATIONS * params["population"]
    trainings = len(params["functions"]) * params["budget"] / budget  # short ones that the table is worth, a dimension
    _train(params, params["functions"][0], params["dims"][0], params["population"])  # what only the first call costs
    estimates, steps = [], []
    for function in params["functions"]:
        seconds = [_train(params, function, dim, budget) for dim in params["dims"]]
        estimates.append(trainings * sum(seconds))
        steps.append(ITERATIONS * len(seconds) / sum(seconds))
    figures = {"table (s)": median(estimates), "steps a second": median(steps)}
    return Measurement([GENNES_SECONDS / seconds for seconds in estimates], figures)


def _train(params: dict[str, Any], function: str, dim: int, budget: int) -> float:
    """Return the seconds of one training, in a new folder for it must not find itself finished."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        train({**params, "budget": budget}, Path(cache), function, dim)
        return time.perf_counter() - start


def whole_table_time() -> Measurement:
    """Read how long the stages of the table took, as if on two cores."""
    seconds = sum(record["seconds"] * record["machine"]["cores"] / CORES for record in _records())
    return Measurement([TABLE_SECONDS / seconds], {"table (s)": seconds})


def whole_table_memory() -> Measurement:
    """Read the memory of the largest process; two workers and their parent need at most three times that."""
    megabytes = (CORES + 1) * max(record["peak_rss_mb"] for record in _records())
    return Measurement([TABLE_MB / megabytes], {"all processes (MB)": megabytes})


def _records() -> list[dict[str, Any]]:
    paths = [Path("reports") / "times" / f"gennes.{stage}.json" for stage in STAGES]
    if absent := [str(path) for path in paths if not path.exists()]:
        raise Skipped(f"the pipeline has not written {' and '.join(absent)}")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


BENCHMARKS = [
    Benchmark("table1-gennes", "6 minutes / GENNES's part of Table 1 on one core", 1.0, gennes_rows),
    Benchmark("table1-time", "40 minutes / the whole Table 1 on two cores, as recorded", 1.0, whole_table_time),
    Benchmark("table1-memory", "2 GB / the whole Table 1 on two cores, as recorded", 1.0, whole_table_memory),
]
