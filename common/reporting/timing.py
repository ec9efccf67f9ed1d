"""How long a stage took and on what machine; comparisons of results ignore these files."""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from common.reporting.files import write_text


@contextmanager
def record_time(paper: str, stage: str, reports_dir: str | Path = "reports") -> Iterator[None]:
    """Write ``<reports_dir>/times/<paper>.<stage>.json`` once the body has ended without an error.

    Holds wall and CPU time (s), peak resident memory (MB) including finished child processes, and the machine.
    """
    start, cpu_start = time.perf_counter(), _cpu_seconds()
    yield
    record = {
        "paper": paper,
        "stage": stage,
        "seconds": round(time.perf_counter() - start, 3),
        "cpu_seconds": round(_cpu_seconds() - cpu_start, 3),
        "peak_rss_mb": round(_peak_rss_mb(), 1),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    write_text(Path(reports_dir) / "times" / f"{paper}.{stage}.json", json.dumps(record, indent=2) + "\n")


def machine() -> dict[str, object]:
    """Describe this machine: CPU model, cores, RAM (GB), versions, torch threads."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "ram_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak_rss_mb() -> float:
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
