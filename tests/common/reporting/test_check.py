from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.reporting.check import check

RESULTS = "experiment,problem,d,method,replicate,evaluations,metric,value\n" + "".join(
    f"t,p,1,m,{replicate},10,regret,{1 + replicate / 10}\n" for replicate in range(5)
)
CLAIMS = """
paper: toy
title: Toy
citation: none
items:
  table1:
    title: t
    where: w
    results: [papers/toy/results/t.csv]
    metric: regret
    higher_is_better: false
    columns: {"10": {evaluations: 10}}
    rows: [{row: r, select: {problem: p}, reported: [1.2]}]
"""
PIPELINE = """
stages:
  t:
    wdir: ../..
    cmd: cp source.csv papers/toy/results/t.csv
    deps: [source.csv]
    outs: [{papers/toy/results/t.csv: {cache: false}}]
"""
REPORT = """
stages:
  report:
    cmd: python -m common.reporting build
    deps: [papers/toy/results/t.csv, papers/toy/claims.yaml]
    outs: [{reports/cells.csv: {cache: false}}]
"""


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository whose pipeline has run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    files = {
        "source.csv": RESULTS,
        "papers/toy/claims.yaml": CLAIMS,
        "papers/toy/dvc.yaml": PIPELINE,
        "dvc.yaml": REPORT,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "papers/toy/results").mkdir()
    for command in ("git init -q", "dvc init -q", "dvc config core.analytics false", "dvc repro -q"):
        subprocess.run(command.split(), check=True, capture_output=True)
    return tmp_path


def test_finds_nothing_then_everything_that_was_changed(repository):
    assert check("papers", "reports") == []
    cells = repository / "reports/cells.csv"
    cells.write_text(cells.read_text().replace("reproduced", "better"))
    problems = check("papers", "reports")
    assert any("dvc status" in problem for problem in problems)
    assert "reports/cells.csv is not what the committed rows give" in problems
    (repository / "reports/toy/table1.md").unlink()
    assert "reports/toy/table1.md is missing" in check("papers", "reports")


def test_finds_a_changed_dependency(repository):
    (repository / "source.csv").write_text(RESULTS + "t,p,1,m,5,10,regret,9\n")
    assert any("source.csv" in problem for problem in check("papers", "reports"))
