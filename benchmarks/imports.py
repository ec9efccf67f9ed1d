"""What importing the optimizers costs beyond torch."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from statistics import median

from benchmarks.runner import Benchmark, Measurement, in_turns

ALLOWED_SECONDS = 1.0
REPETITIONS = 5


def import_time() -> Measurement:
    """Compare new interpreters that import torch, and the optimizers."""
    seconds = in_turns({name: partial(_import, name) for name in ("torch", "common.optimizers")}, REPETITIONS)
    return Measurement(
        [(a + ALLOWED_SECONDS) / b for a, b in zip(seconds["torch"], seconds["common.optimizers"], strict=True)],
        {f"{name} (s)": median(times) for name, times in seconds.items()},
    )


def _import(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)


BENCHMARKS = [Benchmark("import", "import torch + 1 s / import common.optimizers", 1.0, import_time)]
