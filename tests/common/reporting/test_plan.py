from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from common.experiments import map_rows
from common.reporting.plan import Job, count_tasks, jobs, main, table

PROFILE = {
    "experiments": {"toy": {"table1": {"replicates": 40}}},
    "trainings": {"net": {"steps": 7200, "benchmark": "step", "figure": "fused (CPU s)"}},
}


def run(params, cache):
    return map_rows(abs, params, cache, [(replicate,) for replicate in range(params["replicates"])])


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A paper with an experiment that fans out and one that does not, and what they took."""
    monkeypatch.chdir(tmp_path)
    experiments = tmp_path / "papers/toy/experiments"
    experiments.mkdir(parents=True)
    (experiments / "table1.py").write_text("return map_rows(")
    (experiments / "figure1.py").write_text("return []")
    sections = {name: {"seed": 0, "replicates": 8} for name in ("table1", "figure1")}
    (tmp_path / "papers/toy/params.yaml").write_text(yaml.safe_dump(sections))
    stages = {name: {"deps": ["common/x.py", f"papers/toy/experiments/{name}.py"]} for name in sections}
    (tmp_path / "papers/toy/dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    times = tmp_path / "reports/times"
    times.mkdir(parents=True)
    for stage, seconds in {"table1": 3600, "figure1": 360}.items():
        record = {"paper": "toy", "stage": stage, "cpu_seconds": seconds, "peak_rss_mb": 500.0}
        (times / f"toy.{stage}.json").write_text(json.dumps(record))
    benchmarks = [{"name": "step", "figures": {"fused (CPU s)": 0.5}}, {"name": "skipped", "reason": "none"}]
    (times / "benchmarks.json").write_text(json.dumps({"benchmarks": benchmarks}))
    monkeypatch.setattr("common.reporting.plan.import_module", lambda name: SimpleNamespace(run=run))


def test_tasks_are_counted_and_not_computed():
    assert count_tasks(run, {"replicates": 7}) == 7
    assert count_tasks(lambda params, cache: [], {}) == 1


def test_a_stage_takes_its_recorded_time_times_the_ratio_of_its_tasks(toy):
    assert jobs({}) == [Job("toy figure1", 1, 0.1, 500.0), Job("toy table1", 8, 1.0, 500.0)]
    _, table1, net = jobs(PROFILE)
    assert table1 == Job("toy table1", 40, 5.0, 500.0)
    assert (net.name, net.cpu_hours, math.isnan(net.memory)) == ("net: training of 7200 steps", 1.0, True)


@pytest.mark.parametrize(("workers", "hours"), [(1, 8.0), (4, 2.0), (5, 2.0), (8, 1.0), (99, 1.0)])
def test_a_task_is_never_divided(workers, hours):
    assert Job("job", 8, 8.0, 1.0).hours(workers) == hours


def test_the_table_begins_with_what_takes_longest_and_ends_with_the_sum(toy, capsys):
    Path("profile.yaml").write_text(yaml.safe_dump(PROFILE))
    main(["--workers", "4", "--profile", "profile.yaml"])
    assert capsys.readouterr().out.splitlines() == [
        "| job | tasks | CPU hours | hours on 4 workers | MB a process |",
        "|---|---|---|---|---|",
        "| toy table1 | 40 | 5.00 | 1.25 | 500 |",
        "| net: training of 7200 steps | 1 | 1.00 | 1.00 |  |",
        "| toy figure1 | 1 | 0.10 | 0.10 | 500 |",
        "| all, one after the other |  | 6.10 | 2.35 | 500 |",
    ]
    assert table([], 1).count("\n") == 2
    with pytest.raises(SystemExit):
        main(["--workers", "0"])
