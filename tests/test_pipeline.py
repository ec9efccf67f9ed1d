from __future__ import annotations

import os
import shlex
import signal
import time
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from import_closure import import_closure, source
from smoke_clone import ROOT, SmokeClone

from common.reporting.claims import load_claims
from common.reporting.rows import read_rows
from papers.gennes.experiments.bo_tuning import best_setting
from papers.gennes.experiments.bo_tuning import settings as settings_of
from papers.gennes.experiments.tuning import best_rates

TABLE1 = "papers/gennes/dvc.yaml:table1_gennes"

# What carries an experiment's rows, or weights, without deciding them.
CARRIES_ROWS = {
    "common/experiments.py",
    "common/lazy.py",
    "common/optimizers/registry.py",
    "common/reporting/rows.py",
    "common/training/atomic.py",
    "common/training/export.py",
    "common/training/hashing.py",
    "common/training/rundir.py",
    "common/training/trainer.py",
}
CARRIES_FILES = {"common/lazy.py", "common/reporting/files.py"}


def pipelines():
    """Return paper -> its dvc.yaml's stages."""
    paths = sorted(ROOT.glob("papers/*/dvc.yaml"))
    return {path.parent.name: yaml.safe_load(path.read_text())["stages"] for path in paths}


def params_of(paper):
    return yaml.safe_load((ROOT / "papers" / paper / "params.yaml").read_text())


def words(stage):
    """Return the words of a stage's command after ``python -m``."""
    python, dash_m, *rest = shlex.split(stage["cmd"])
    assert (python, dash_m) == ("python", "-m")
    return rest


def code_of(stage):
    return sorted(dep for dep in stage["deps"] if dep.endswith(".py"))


def outs_of(stage):
    return {path for out in stage["outs"] for path in out}


def stages_of(kind):
    """Return the stages that run a module of the paper whose name ends with ``kind``."""
    return [
        pytest.param(paper, name, stage, id=f"{paper}-{name}")
        for paper, name, stage in STAGES
        if words(stage)[0].endswith(kind)
    ]


STAGES = [(paper, name, stage) for paper, stages in pipelines().items() for name, stage in stages.items()]
REPORT = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["report"]
EXPERIMENTS, TRAININGS = stages_of("experiments"), stages_of("train")
CHECKED = {param.values[:2] for param in EXPERIMENTS + TRAININGS}
OTHERS = [
    *(
        pytest.param(words(stage)[0], stage, id=f"{paper}-{name}")
        for paper, name, stage in STAGES
        if (paper, name) not in CHECKED
    ),
    pytest.param("common.reporting.build", REPORT, id="report"),
]


@pytest.mark.filterwarnings("ignore:_NoneStep.value")  # DVC's use of pygtrie
def test_every_stage_is_an_ancestor_of_the_report():
    import networkx
    from dvc.repo import Repo

    with Repo(ROOT) as repo:
        graph = repo.index.graph
        (report,) = (stage for stage in graph if stage.addressing == "report")
        assert networkx.descendants(graph, report) == set(graph) - {report}
        assert len(graph) == len(STAGES) + 1


@pytest.mark.parametrize("paper", pipelines())
def test_every_experiment_is_a_stage(paper):
    names = import_module(f"papers.{paper}.experiments.__main__").NAMES
    assert sorted(names) == sorted(param.values[1] for param in EXPERIMENTS if param.values[0] == paper)


@pytest.mark.parametrize(("paper", "name", "stage"), EXPERIMENTS)
def test_an_experiment_depends_on_the_files_that_determine_its_rows(paper, name, stage):
    assert words(stage) == [f"papers.{paper}.experiments", name]
    files = import_closure(f"papers.{paper}.experiments.{name}", CARRIES_ROWS)
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["global_optimizers"]
    params = params_of(paper)[name]
    named = {**params.get("methods", {}), **params.get("peers", {})}
    for method in [settings.get("method", name) for name, settings in named.items()]:
        files |= import_closure(entry_points[method].split(":")[0], CARRIES_ROWS)
    assert code_of(stage) == sorted(files)
    made_by_others = set().union(*(outs_of(other) for *_, other in STAGES if other is not stage))
    assert set(stage["deps"]) - files <= made_by_others
    assert stage["params"] == [{f"papers/{paper}/params.yaml": [name]}]
    assert outs_of(stage) == {f"papers/{paper}/results/{name}.csv"}


class Captured(Exception):
    """Ends a training command where it would begin to train; its arguments are the keywords of `train_command`."""


@pytest.mark.parametrize(("paper", "name", "stage"), TRAININGS)
def test_a_training_depends_on_the_files_that_determine_its_weights(monkeypatch, paper, name, stage):
    def capture(*classes, code, section, **_):
        raise Captured(classes, code, section)

    module, *args = words(stage)
    command = import_module(module)
    monkeypatch.setattr(command, "train_command", capture)
    with pytest.raises(Captured) as captured:
        command.main(args)
    classes, code, section = captured.value.args
    files = set().union(*(import_closure(cls.__module__, CARRIES_ROWS) for cls in classes))
    assert code_of(stage) == sorted(files)
    resumed_while_these_are_the_same = {cls.__module__ for cls in classes} | {module.__name__ for module in code}
    assert {source(module) for module in resumed_while_these_are_the_same} == files
    assert section == name
    assert stage["params"] == [{f"papers/{paper}/params.yaml": [name]}]


@pytest.mark.parametrize(("module", "stage"), OTHERS)
def test_figures_and_report_depend_on_their_code(module, stage):
    assert code_of(stage) == sorted(import_closure(module, CARRIES_FILES))


# Figure 2 has the rate of the authors' code, whose defaults are such a two-dimensional demonstration.
@pytest.mark.parametrize("section", ["table1_gennes", "centre", "alpha"])
def test_the_learning_rates_are_those_that_the_tuning_chose(section):
    best = best_rates(read_rows(ROOT / "papers/gennes/results/tuning.csv"))
    rates = params_of("gennes")[section]["lr"]
    assert rates == {function: best[function] for function in rates}


def test_the_setting_on_single_acquisitions_is_the_one_that_the_tuning_chose():
    chosen = best_setting(read_rows(ROOT / "papers/gennes/results/bo_tuning.csv"))
    sections = params_of("gennes")
    tuned, used = sections["bo_tuning"], sections["bo_snapshots"]["maximizers"]["gennes"]
    assert used == settings_of(tuned["population"], tuned["lr"], tuned["alpha"], **tuned["network"])[chosen]


@pytest.fixture(scope="module")
def story(clone):
    """Table 1's training killed half-way, the whole pipeline then, and what was seen."""
    process = clone.start("dvc", "repro", "--force", TABLE1)
    pattern = "runs/gennes/table1_gennes-*/tasks/gennes/training-*/last.ckpt"
    while not (checkpoints := list(clone.root.glob(pattern))):
        assert process.poll() is None, "the stage ended before it was killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    checkpoint = torch.load(checkpoints[0], weights_only=True)
    (run,) = clone.root.glob("runs/gennes/table1_gennes-*")
    tasks = list(run.glob("tasks/*.json"))
    clone.run("python", "-m", "common.training.repair")
    return SimpleNamespace(
        epochs=checkpoint["epoch"] + 1,
        tasks_done=len(tasks),
        run=run,
        printed=clone.run("dvc", "repro"),
        printed_again=clone.run("dvc", "repro"),
        status=clone.run("dvc", "status"),
        cells=pd.read_csv(clone.root / "reports/cells.csv", keep_default_na=False),
    )


smoke = pytest.mark.xdist_group("smoke")


@smoke
def test_the_clone_runs_its_own_code(clone):
    code = "from importlib.util import find_spec; print(find_spec('common').origin, find_spec('papers').origin)"
    assert clone.run("python", "-c", code).split() == [
        str(clone.root / package / "__init__.py") for package in ("common", "papers")
    ]


@smoke
def test_a_training_killed_half_way_resumes_to_the_rows_of_an_undisturbed_one(clone, story, tmp_path):
    assert 0 < story.epochs < 101
    assert story.tasks_done < 8
    assert f"Running stage '{TABLE1}'" in story.printed
    assert list(clone.root.glob("runs/gennes/table1_gennes-*")) == [story.run]
    assert not (story.run / "tasks").exists()
    clone.run("python", "-m", "papers.gennes.experiments", "table1_gennes", "--out", str(tmp_path))
    undisturbed = (tmp_path / "table1_gennes.csv").read_bytes()
    assert (clone.root / "papers/gennes/results/table1_gennes.csv").read_bytes() == undisturbed


@smoke
def test_the_pipeline_is_up_to_date_after_one_run(clone, story):
    assert "Running stage" not in story.printed_again
    assert "Data and pipelines are up to date." in story.status
    assert (clone.root / "reports/index.html").stat().st_size > 10_000


@smoke
def test_the_small_pipeline_has_the_cells_of_the_full_one(story):
    key = ["paper", "item", "row", "column"]
    small = set(story.cells[key].itertuples(index=False, name=None))
    claims = [load_claims(path) for path in ROOT.glob("papers/*/claims.yaml")]
    numbers = {
        (paper.paper, item.id, row.label, column)
        for paper in claims
        for item in paper.items
        for row in item.rows
        for column in item.columns
    }
    in_words = {(paper.paper, claim.id) for paper in claims for claim in paper.claims}
    assert numbers < small
    assert {(paper, item) for paper, item, *_ in small - numbers} == in_words
    full = pd.read_csv(ROOT / "reports/cells.csv", keep_default_na=False)
    assert small == set(full[key].itertuples(index=False, name=None))


@smoke
def test_the_results_of_a_run_are_what_its_code_makes(clone, story):
    clone.run("python", "-m", "common.reporting", "check")


@smoke
def test_what_the_small_budgets_reach_was_run(clone, story):
    for path in clone.root.glob("papers/*/claims.yaml"):
        params = yaml.safe_load((path.parent / "params.yaml").read_text())
        claims = load_claims(path)
        verdicts = story.cells[story.cells["paper"] == claims.paper].set_index(["item", "row", "column"])["verdict"]
        for item in claims.items:
            budgets = [params[Path(result).stem].get("budget", 0) for result in item.results]
            for row in item.rows:
                for column in item.columns:
                    asked = [chosen.get("evaluations", 0) for chosen in item.selections(row, column)]
                    reached = max(asked) <= min(budgets)
                    assert verdicts[item.id, row.label, column] != "not run" or not reached


def test_a_source_archive_runs_without_git(tmp_path):
    archive = SmokeClone(tmp_path, git=False)
    assert "runs without one" in archive.run("python", "-m", "common.training.repair")
    archive.run("dvc", "repro", "papers/gennes/dvc.yaml:eq9")
    assert len(read_rows(tmp_path / "papers/gennes/results/eq9.csv")) > 0
