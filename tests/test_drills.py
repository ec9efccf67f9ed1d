from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from drills import disks, surroundings
from drills.clones import Clone, Job, Lost, Place, Running, Skipped, assert_same, needs
from drills.kills import killed
from drills.runner import RECORD, Drill, main

JOB = Job(("python", "job.py"), ("out/*", "*.lock"))
# Three files one after the other, and a lock file; what is there already stays.
PROGRAM = """
import pathlib, time
pathlib.Path("out").mkdir(exist_ok=True)
for name in "abc":
    time.sleep(0.1)
    pathlib.Path("out", name).write_text(name)
pathlib.Path("toy.lock").write_text("x: 1\\ny: 2\\n")
"""


class ToyClone(Clone):
    """A folder with one program, in git."""

    def __init__(self, root):
        self.root = root
        root.mkdir()
        (root / "job.py").write_text(PROGRAM)
        for words in ("init --quiet", "add --all", "-c user.name=toy -c user.email=toy@localhost commit -qm toy"):
            self.run("git", *words.split())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("drills.clones.Clone", ToyClone)
    return Place(tmp_path, 0)


def drill(name, *outcomes, times=None):
    """Return a drill whose rehearsals end as the outcomes say: remarks, or exceptions."""

    def rehearse(place, number):
        if isinstance(outcomes[number], Exception):
            raise outcomes[number]
        return outcomes[number]

    return Drill(name, f"{name} happens", times or len(outcomes), rehearse)


def records():
    return {record["name"]: record for record in json.loads(RECORD.read_text())["drills"]}


def test_what_is_survived_is_counted_printed_and_recorded(capsys):
    drills = [drill("a", ["early"], ["late"], ["late"]), drill("b", [], Lost("two\nlines"), [])]
    assert main(drills, ["--seed", "5"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split(maxsplit=4) == ["a", "3", "3", "pass", "1 early; 2 late"]
    assert lines[2].split(maxsplit=4) == ["b", "3", "2", "LOST", "1: Lost: two lines"]
    assert lines[-1] == "not survived: b"
    a, b = records().values()
    assert (a["times"], a["run"], a["survived"], a["result"], a["notes"]) == (3, 3, 3, "pass", ["1 early", "2 late"])
    assert (b["run"], b["survived"], b["result"], b["seed"]) == (3, 2, "LOST", 5)
    assert {"cpu", "cores"} <= a["machine"].keys()


def test_a_drill_that_is_not_possible_is_skipped_with_its_reason(capsys):
    assert main([drill("a", Skipped("no namespaces"), Skipped("no namespaces"))], []) == 0
    assert "skipped  no namespaces" in capsys.readouterr().out
    assert (records()["a"]["run"], records()["a"]["result"], records()["a"]["notes"]) == (
        0,
        "skipped",
        ["no namespaces"],
    )


def test_an_error_of_any_kind_is_not_survived():
    assert main([drill("a", [], ZeroDivisionError("oh"))], ["--workers", "1"]) == 1
    assert records()["a"]["notes"] == ["1: ZeroDivisionError: oh"]


def test_only_what_is_named_is_run_and_the_rest_keeps_its_record(capsys):
    drills = [drill("a", [], []), drill("b", Lost("gone"))]
    assert main(drills, []) == 1
    assert main(drills, ["a", "--times", "1"]) == 0
    assert [(name, record["run"]) for name, record in records().items()] == [("a", 1), ("b", 1)]
    assert records()["a"]["times"] == 2
    for wrong in (["c"], ["--times", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(drills, wrong)
    assert "no drill is called 'c'; there are a, b" in capsys.readouterr().err


def test_list_runs_nothing(capsys):
    assert main([drill("a", Lost("run"))], ["--list"]) == 0
    assert capsys.readouterr().out.split() == ["a", "1", "a", "happens"]
    assert not RECORD.exists()


def test_moments_are_those_of_the_seed_whatever_else_is_run(tmp_path):
    shares = [Place(tmp_path, 0).share("kill", number, attempt) for number in range(20) for attempt in range(2)]
    again = Place(tmp_path, 0)
    again.share("other", 3)
    assert shares == [again.share("kill", number, attempt) for number in range(20) for attempt in range(2)]
    assert len(set(shares)) == 40
    assert min(shares) < 0.2
    assert 0.8 < max(shares) < 1
    assert Place(tmp_path, 1).share("kill", 0, 0) != shares[0] != again.share("other", 0, 0)


def test_a_changed_byte_a_missing_and_a_new_file_are_found(place):
    expected = place.undisturbed(JOB).results
    assert list(expected) == ["out/a", "out/b", "out/c", "toy.lock"]
    with place.clone() as clone:
        assert clone.results(JOB) == {}
        clone.finish(*JOB.command)
        (clone.root / "toy.lock").write_text("y: 2\nx: 1\n")
        assert_same(expected, clone.results(JOB))
        (clone.root / "out/b").write_text("B")
        (clone.root / "out/c").unlink()
        (clone.root / "out/d").touch()
        with pytest.raises(Lost, match="not as of an undisturbed job: out/b, out/c, out/d"):
            assert_same(expected, clone.results(JOB))
    with pytest.raises(Lost, match="no results"):
        assert_same({}, {})


def test_a_clone_is_lent_as_it_was_committed_and_not_after_a_failure(place):
    with place.clone() as first:
        first.finish(*JOB.command)
        (first.root / "job.py").write_text("")
    with place.clone() as second, place.clone() as third:
        assert second is first is not third
        assert second.results(JOB) == {}
        assert (second.root / "job.py").read_text() == PROGRAM
    with pytest.raises(Lost, match="status 3: oh"), place.clone() as failing:
        failing.finish("sh", "-c", "echo oh; exit 3")
    with place.clone() as one, place.clone() as other:
        assert failing not in (one, other)


def test_a_killed_job_is_compared_with_the_undisturbed_one(place):
    done = []

    def again(clone):
        done.append(len(clone.results(JOB)))
        clone.finish(*JOB.command)
        return ["again"]

    def wrong(clone):
        again(clone)
        (clone.root / "out/a").write_text("A")
        return []

    assert [killed(place, "toy", JOB, n, group=True, again=again) for n in range(2)] == [["again"], ["again"]]
    assert min(done) < 4
    with pytest.raises(Lost, match="not as of an undisturbed job: out/a"):
        killed(place, "toy", JOB, 0, group=True, again=wrong)


@pytest.mark.parametrize("group", [True, False])
def test_dvc_alone_can_be_killed_and_what_it_has_started_ends_with_the_drill(place, group):
    child = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', CHILD]).pid, flush=True); input()"
    code = child.replace("CHILD", repr("import time; time.sleep(60)")).replace("input()", "import time; time.sleep(60)")
    with place.clone() as clone:
        with clone.running("python", "-c", code) as running:
            while not (pid := running.output().strip()):
                assert not running.ends_within(0.01)
            running.kill(group=group)
            assert running.status() == -9
            assert gone(pid) is group
        assert gone(pid)


def gone(pid):
    """Wait a little for a process to end; a zombie has."""
    for _ in range(20):
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
        if not state.strip() or state.startswith("Z"):
            return True
        time.sleep(0.01)
    return False


def test_what_a_machine_does_not_allow_is_said_in_its_words():
    needs("true")
    with pytest.raises(Skipped, match="nosuchprogram is not installed"):
        needs("nosuchprogram", "--net")
    with pytest.raises(Skipped, match="not permitted"):
        needs("sh", "-c", "echo not permitted >&2; exit 1")


@pytest.mark.parametrize("rehearse", [*(one.rehearse for one in disks.DRILLS), surroundings.no_network])
def test_without_namespaces_the_drills_that_need_them_are_skipped(place, monkeypatch, rehearse):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Skipped, match="unshare is not installed"):
        rehearse(place, 0)


def test_a_command_that_never_ends_is_lost(place, monkeypatch):
    monkeypatch.setattr("drills.clones.PATIENCE", 0.1)
    with place.clone() as clone, pytest.raises(Lost, match="has not ended"):
        clone.finish(sys.executable, "-c", "import time; time.sleep(60)")


def test_output_is_there_while_it_runs(place):
    with place.clone() as clone, clone.running("sh", "-c", "echo first; sleep 60") as running:
        assert isinstance(running, Running)
        while running.output() != "first\n":
            assert not running.ends_within(0.01)
