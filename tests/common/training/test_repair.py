from __future__ import annotations

import os
import subprocess
import sys

import pytest
import voluptuous
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

from common.training.repair import repair

LOCK = """\
schema: '2.0'
stages:
  table1:
    cmd: python -m papers.toy.experiments table1
    deps:
    - path: papers/toy/model.py
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 17
    params:
      papers/toy/params.yaml:
        table1:
          seed: 0
          lr: 0.1
    outs:
    - path: papers/toy/results/table1.csv
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 99
"""
CUT = LOCK[: LOCK.index("table1") + 4]
LOCKS = ["dvc.lock", "papers/toy/dvc.lock"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("common.training.repair.MOMENT", 0.0)


def git(root, *words):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def archive(tmp_path):
    """A project without git."""
    for name in (".dvc", "papers/toy"):
        (tmp_path / name).mkdir(parents=True)
    for name in LOCKS:
        (tmp_path / name).write_text(LOCK)
    return tmp_path


@pytest.fixture
def checkout(archive):
    git(archive, "init", "--quiet")
    git(archive, "add", "--all")
    git(archive, "commit", "--quiet", "--message", "all")
    return archive


def contents(root):
    return {path: path.read_text() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}


def valid(text):
    """Say whether DVC reads it as a lock file."""
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    except (yaml.YAMLError, voluptuous.Invalid):
        return False
    return True


def test_a_sound_checkout_is_left_alone(checkout):
    (checkout / ".dvc/tmp").mkdir()
    (checkout / ".dvc/tmp/rwlock").write_text('{"/a/file": {"write": {"pid": 1, "cmd": "dvc repro"}}}')
    before = contents(checkout)
    assert repair(checkout) == []
    assert contents(checkout) == before


def test_a_project_that_never_ran_is_left_alone(checkout):
    for name in LOCKS:
        (checkout / name).unlink()
    assert repair(checkout) == []


@pytest.mark.parametrize("content", ["", '{"/a/fi', "[]"])
def test_an_unreadable_rwlock_is_deleted(checkout, content):
    rwlock = checkout / ".dvc/tmp/rwlock"
    rwlock.parent.mkdir()
    rwlock.write_text(content)
    (done,) = repair(checkout)
    assert ".dvc/tmp/rwlock" in done
    assert not rwlock.exists()
    assert repair(checkout) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_truncated_lock_file_is_restored_from_git(checkout, name):
    (checkout / name).write_text(CUT)
    (done,) = repair(checkout)
    assert done.startswith(f"restored {name}")
    assert (checkout / name).read_text() == LOCK
    assert repair(checkout) == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_truncated_lock_file_that_git_does_not_have_is_deleted(checkout, name):
    git(checkout, "rm", "--quiet", "--cached", name)
    (checkout / name).write_text(CUT)
    (done,) = repair(checkout)
    assert done.startswith(f"deleted {name}")
    assert not (checkout / name).exists()
    assert repair(checkout) == []


@pytest.mark.parametrize("name", [".dvc/tmp/rwlock", *LOCKS])
def test_a_file_that_a_running_pipeline_is_just_writing_is_left_alone(checkout, monkeypatch, name):
    path = checkout / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    whole = "{}" if path.name == "rwlock" else LOCK
    monkeypatch.setattr("common.training.repair.time.sleep", lambda seconds: path.write_text(whole))
    assert repair(checkout) == []
    assert path.read_text() == whole


def test_wherever_a_lock_file_is_cut_dvc_can_read_what_the_repair_leaves(archive):
    lock = archive / "dvc.lock"
    repair(archive)  # says that there is no git
    for length in range(len(LOCK)):
        lock.write_text(LOCK[:length])
        done = repair(archive)
        assert lock.exists() is not bool(done)
        assert not lock.exists() or valid(lock.read_text()), lock.read_text()


def test_a_source_archive_runs_dvc_without_git(archive):
    (done,) = repair(archive)
    assert "no git repository" in done
    assert "no_scm = true" in (archive / ".dvc/config.local").read_text()
    assert repair(archive) == []


def test_a_local_configuration_is_kept(archive):
    (archive / ".dvc/config.local").write_text("[core]\n    no_scm = true\n    checksum_jobs = 2\n")
    before = contents(archive)
    assert repair(archive) == []
    assert contents(archive) == before


def test_everything_at_once_is_said_on_stderr_a_line_each(archive):
    (archive / ".dvc/tmp").mkdir()
    (archive / ".dvc/tmp/rwlock").touch()
    for name in LOCKS:
        (archive / name).write_text("")
    command = [sys.executable, "-m", "common.training.repair"]
    first, second = (
        subprocess.run(command, cwd=archive, env=os.environ, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout == ""
    assert len(first.stderr.splitlines()) == 4
    assert (second.stdout, second.stderr) == ("", "")


def test_without_a_git_program_the_folder_counts_as_no_repository(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (done,) = repair(checkout)
    assert "no git repository" in done
