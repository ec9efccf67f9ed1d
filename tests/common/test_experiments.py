from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import papers
from common.experiments import experiment_command
from common.reporting.rows import read_rows

PARAMS = """\
table1: {seed: 3, replicates: 4, scale: 2.0}
no_seed: {replicates: 4}
no_replicates: {seed: 3}
"""

# Notes every computed task in calls.txt; with CRASH_AT the process dies as by `kill -9`.
EXPERIMENT = """\
import os, signal
from common.experiments import map_rows

def run(params, cache):
    return map_rows(one, params, cache, [("bowl", replicate) for replicate in range(params["replicates"])])

def one(params, cache, task):
    problem, replicate = task
    if os.environ.get("CRASH_AT") == str(replicate):
        os.kill(os.getpid(), signal.SIGKILL)
    with open("calls.txt", "a") as calls:
        print(replicate, file=calls)
    value = params["scale"] * (100 * params["seed"] + replicate)
    return [{"experiment": "table1", "problem": problem, "d": 2, "method": "ours", "replicate": replicate,
             "evaluations": 10, "metric": "regret", "value": value}]
"""

PROGRAM = """\
import papers, sys
papers.__path__.append("papers")
from common.experiments import experiment_command
experiment_command("toy", ["table1"])
"""


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    """A paper with one experiment, in the current folder."""
    folder = tmp_path / "papers/toy"
    (folder / "experiments").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "experiments/__init__.py").touch()
    (folder / "experiments/table1.py").write_text(EXPERIMENT)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "dvc.yaml").write_text("stages: {table1: {deps: [papers/toy/experiments/table1.py]}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOBOPT_WORKERS", "1")
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(tmp_path / "papers")])
    yield folder
    for name in [name for name in sys.modules if name.startswith("papers.toy")]:
        del sys.modules[name]
    vars(papers).pop("toy", None)


def command(*words):
    experiment_command("toy", ["table1", "no_section"], ["table1", *map(str, words)])


def values(file="papers/toy/results/table1.csv"):
    return read_rows(file)["value"].tolist()


def calls():
    return [int(line) for line in Path("calls.txt").read_text().split()]


def caches():
    return list(Path("runs/toy").glob("table1-*/tasks"))


def test_rows_are_written_with_the_parameters_of_the_section(toy):
    command()
    assert values() == [600, 602, 604, 606]
    assert caches() == []
    (config,) = Path("runs/toy").glob("table1-*/config.yaml")
    assert yaml.safe_load(config.read_text()) == {"seed": 3, "replicates": 4, "scale": 2.0}


def test_a_run_into_the_results_notes_its_time_and_one_elsewhere_does_not():
    times = Path("reports/times/toy.table1.json")
    command("--out", "elsewhere")
    assert values("elsewhere/table1.csv") == [600, 602, 604, 606]
    assert not times.exists()
    assert not Path("papers/toy/results").exists()
    command()
    assert json.loads(times.read_text())["stage"] == "table1"


def test_fresh_is_another_seed_and_replicates_another_number():
    command("--fresh", 5, "--out", "out")
    assert values("out/table1.csv") == [1000, 1002, 1004, 1006]
    command("--replicates", 2, "--out", "out")
    assert values("out/table1.csv") == [600, 602]
    command("--fresh", 5, "--replicates", 1, "--out", "out")
    assert values("out/table1.csv") == [1000]


def test_replicates_never_exceed_those_of_the_section():
    command("--replicates", 9, "--out", "out")
    assert len(values("out/table1.csv")) == 4


def test_a_killed_experiment_computes_only_what_is_missing():
    words = [sys.executable, "-c", PROGRAM, "table1"]
    killed = subprocess.run(words, env={**os.environ, "CRASH_AT": "2"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert calls() == [0, 1]
    assert not Path("papers/toy/results").exists()
    command()
    assert calls() == [0, 1, 2, 3]
    assert values() == [600, 602, 604, 606]
    assert caches() == []


def test_what_is_finished_survives_a_change_of_code_that_the_stage_does_not_depend_on(toy, monkeypatch):
    monkeypatch.setenv("CRASH_AT", "2")
    subprocess.run([sys.executable, "-c", PROGRAM, "table1"], check=False)
    (toy / "another_room.py").write_text("x = 1\n")
    monkeypatch.delenv("CRASH_AT")
    command()
    assert sorted(calls()) == [0, 1, 2, 3]


@pytest.mark.parametrize("changed", ["params", "code"])
def test_what_is_finished_counts_only_for_the_same_parameters_and_code(toy, monkeypatch, changed):
    monkeypatch.setattr("common.experiments.shutil.rmtree", lambda *args, **options: None)  # keep the cache
    command()
    command()
    assert calls() == [0, 1, 2, 3]
    if changed == "params":
        (toy / "params.yaml").write_text(PARAMS.replace("scale: 2.0", "scale: 1.0"))
    else:
        (toy / "experiments/table1.py").write_text(EXPERIMENT + "\n")
    command()
    assert calls() == [0, 1, 2, 3] * 2
    assert values() == ([300, 301, 302, 303] if changed == "params" else [600, 602, 604, 606])


def test_a_finished_experiment_computes_anew():
    command()
    command()
    assert calls() == [0, 1, 2, 3] * 2


def test_an_unknown_name_ends_the_program(capsys):
    with pytest.raises(SystemExit):
        experiment_command("toy", ["table1"], ["table9"])
    assert "invalid choice: 'table9'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("no_section", "params.yaml has no section 'no_section'"),
        ("no_seed", "section 'no_seed' lacks 'seed'"),
        ("no_replicates", "section 'no_replicates' lacks 'replicates'"),
    ],
)
def test_a_section_must_be_there_and_have_seed_and_replicates(toy, section, message):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        experiment_command("toy", [section], [section])


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "x"])
def test_there_is_at_least_one_replicate(toy, capsys, count):
    with pytest.raises(SystemExit):
        experiment_command("toy", ["table1"], ["table1", "--replicates", count])
    assert "--replicates" in capsys.readouterr().err
    assert not (toy / "results").exists()
