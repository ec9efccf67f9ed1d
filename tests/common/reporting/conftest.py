from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.reporting.rows import COLUMNS, write_rows

CLAIMS = """\
paper: toy
title: "A toy paper with <angle> & ampersand"
citation: "Nobody et al. (2020)"
items:
  table1:
    title: "Table 1: best value"
    where: "section 4, Table 1"
    results: [papers/toy/results/table1.csv]
    metric: regret
    higher_is_better: false
    columns: {"1e2": {evaluations: 100}, "1e3": {evaluations: 1000}}
    rows:
      - {row: "Bowl d=10, ours", select: {problem: bowl, d: 10, method: ours}, reported: [1.0, 0.5]}
      - {row: "Bowl d=10, peer", select: {problem: bowl, d: 10, method: peer}, reported: [1.0, null], note: copy error}
  table2:
    title: "Table 2: never run"
    where: "appendix"
    results: [papers/toy/results/table2.csv]
    metric: success
    higher_is_better: true
    n_paper: 20
    tolerance: {relative: 0.1}
    note: "run with 5 instead of 20 replicates"
    columns: {"final": {evaluations: 1000}}
    rows:
      - {row: "Bowl", select: {problem: bowl, d: 10, method: ours}, reported: [0.9], spread: [0.1]}
claims:
  - id: beats-peer
    text: "Ours beats the peer."
    where: "section 4.1"
    condition: "lower regret at 1e3, 95% paired interval"
    results: [papers/toy/results/table1.csv]
    comparisons:
      - left: {method: ours}
        right: {method: [peer]}
        over: {problem: bowl, d: [10, 30]}
        at: {evaluations: 1e3, metric: regret}
        relation: less
choices:
  - {topic: "width", paper: "not given", ours: "128", why: "the authors' code"}
figures:
  figure1: {title: "Regret against evaluations", where: "Figure 1", note: "medians"}
"""

BENCHMARK = """\
benchmarks:
  suite:
    title: "A suite"
    where: "beyond the paper"
    results: [papers/toy/results/suite.csv]
    metric: regret
    select: {experiment: suite}
    target: 1
    evaluations: [10]
    reference: a
"""

# Regret at 10 evaluations by problem, method and fold, and the evaluations at which 1 was met, of at most 100.
REGRET = {
    ("p", "a"): (0.5, 2.0), ("p", "b"): (1.0, 0.1), ("p", "c"): (3.0,),
    ("q", "a"): (0.0, 0.0), ("q", "b"): (4.0, 4.0),
}  # fmt: skip
HITS = {
    ("p", "a"): (7, "inf"), ("p", "b"): (4, 8), ("p", "c"): ("inf",),
    ("q", "a"): (2, 4), ("q", "b"): ("inf", "inf"),
}  # fmt: skip

EXPERIMENT = """\
import argparse, csv, pathlib, random, sys

parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("--fresh", type=int)
parser.add_argument("--replicates", type=int)
parser.add_argument("--out")
options = parser.parse_args()
if options.name == "needs_tool":
    sys.exit(69)
if options.name == "broken":
    sys.exit("no such function")
LEVEL = {("ours", 100): 1.0, ("ours", 1000): 0.5, ("peer", 100): 2.0, ("peer", 1000): 1.0}
with open(pathlib.Path(options.out) / "table1.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow("experiment problem d method replicate evaluations metric value".split())
    for (method, evaluations), level in LEVEL.items():
        for d in (10, 30):
            for replicate in range(options.replicates):
                noise = random.Random(f"{options.fresh} {method} {evaluations} {d} {replicate}").gauss(0, 0.05)
                writer.writerow(["table1", "bowl", d, method, replicate, evaluations, "regret", level * 10**noise])
"""

STAGE = """\
  {name}:
    wdir: ../..
    cmd: python -m papers.toy.experiments {name}
    outs:
      - papers/toy/results/{out}.csv:
          cache: false
"""


def toy_rows() -> list[dict[str, object]]:
    generator = np.random.default_rng(1)
    level = {("ours", 100): 1.0, ("ours", 1000): 0.5, ("peer", 100): 2.0, ("peer", 1000): 1.0}
    return [
        {
            "experiment": "table1",
            "problem": "bowl",
            "d": d,
            "method": method,
            "replicate": replicate,
            "evaluations": evaluations,
            "metric": "regret",
            "value": value * 10 ** generator.normal(0, 0.05),
        }
        for (method, evaluations), value in level.items()
        for d, replicate in itertools.product((10, 30), range(10))
    ]


def suite_rows() -> list[tuple[object, ...]]:
    """Return the rows of the benchmark, and some that it must not use."""
    return [
        (experiment, problem, 2, method, fold, evaluations, metric, value)
        for metric, evaluations, table in (("regret", 10, REGRET), ("regret", 20, REGRET), ("hit", 100, HITS))
        for experiment in ("suite", "other")
        for (problem, method), values in table.items()
        for fold, value in enumerate(values)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one small paper: one table that was run, one that was not, one claim in words."""
    folder = tmp_path / "papers" / "toy"
    folder.mkdir(parents=True)
    (tmp_path / "papers" / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "experiments.py").write_text(EXPERIMENT)
    (folder / "claims.yaml").write_text(CLAIMS)
    (folder / "dvc.yaml").write_text("stages:\n" + STAGE.format(name="table1", out="table1"))
    write_rows(folder / "results" / "table1.csv", toy_rows())
    return tmp_path


@pytest.fixture
def suite(root: Path) -> Path:
    """Give the paper a benchmark; return the file of its rows."""
    with open(root / "papers" / "toy" / "claims.yaml", "a") as file:
        file.write(BENCHMARK)
    path = root / "papers" / "toy" / "results" / "suite.csv"
    write_rows(path, pd.DataFrame(suite_rows(), columns=COLUMNS))
    return path


@pytest.fixture
def add_stage(root: Path):
    def add(name: str, out: str) -> None:
        with open(root / "papers" / "toy" / "dvc.yaml", "a") as file:
            file.write(STAGE.format(name=name, out=out))

    return add
