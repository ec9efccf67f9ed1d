"""``python -m benchmarks`` in the root of the repository; ``--list`` says what there is."""

from __future__ import annotations

import sys

from benchmarks import (
    batches,
    cluster,
    ensemble,
    gradpie,
    imports,
    lgo,
    long,
    methods,
    minimize,
    pipeline,
    refine1d,
    table1,
)
from benchmarks.runner import main

if __name__ == "__main__":
    subjects = (ensemble, batches, table1, refine1d, gradpie, lgo, minimize, methods, pipeline, imports, cluster, long)
    sys.exit(main([benchmark for subject in subjects for benchmark in subject.BENCHMARKS]))
