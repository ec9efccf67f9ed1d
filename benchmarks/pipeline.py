"""How long `dvc repro` takes to find that there is nothing to do."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from textwrap import shorten

from benchmarks.runner import Benchmark, Measurement, NotMeasured, in_turns

LIMIT_SECONDS = 5.0
REPETITIONS = 3


def idle_repro() -> Measurement:
    """Time `dvc repro` in the current repository, unless it would start to compute."""
    stale = json.loads(_dvc("status", "--json"))
    if stale:
        raise NotMeasured(shorten(f"not up to date: {', '.join(stale)}", 120))
    seconds = in_turns({"repro": lambda: _dvc("repro")}, REPETITIONS)["repro"]
    return Measurement([LIMIT_SECONDS / each for each in seconds], {"dvc repro (s)": median(seconds)})


def _dvc(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(shorten(f"dvc {' '.join(words)}: {done.stderr}", 120))
    return done.stdout


BENCHMARKS = [Benchmark("dvc-repro", "5 s / dvc repro with nothing to do", 1.0, idle_repro)]
