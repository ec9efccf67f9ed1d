"""``python -m common.training.repair``: put right what a killed or first `dvc repro` can meet, and say what was done.

DVC 3 rewrites its lock files in place, so a kill can leave ``.dvc/tmp/rwlock`` empty or a ``dvc.lock`` cut short; and
it wants a git repository, which a source archive is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import voluptuous
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA

MOMENT = 0.5  # seconds; far more than DVC takes to write a lock file


def repair(root: Path) -> list[str]:
    """Repair the DVC state below ``root``; return what was done, a line each."""
    done = []
    in_git = _git(root, "rev-parse", "--is-inside-work-tree")
    local = root / ".dvc" / "config.local"
    if not in_git and not local.exists():
        local.write_text("[core]\n    no_scm = true\n", encoding="utf-8")
        done.append("no git repository here: DVC runs without one")
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    if _stays_broken(rwlock, _is_json):
        rwlock.unlink()
        done.append(f"deleted {rwlock.relative_to(root)}, which a kill left unreadable")
    for lock in [root / "dvc.lock", *sorted(root.glob("papers/*/dvc.lock"))]:
        if _stays_broken(lock, _is_lock):
            name = lock.relative_to(root).as_posix()
            if in_git and _git(root, "checkout", "--", name):
                done.append(f"restored {name}, which a kill cut short, from git")
            else:
                lock.unlink()
                done.append(f"deleted {name}, which a kill cut short; its stages run again")
    return done


def _git(root: Path, *words: str) -> bool:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _stays_broken(path: Path, is_sound: Callable[[Path], bool]) -> bool:
    """Say whether a file is there and broken, and not just being written by a `dvc repro` that runs."""
    for pause in (MOMENT, 0.0):
        if not path.exists() or is_sound(path):
            return False
        time.sleep(pause)
    return True


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except ValueError:
        return False


def _is_lock(path: Path) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, voluptuous.Invalid):
        return False
    return True


if __name__ == "__main__":
    for line in repair(Path.cwd()):
        print(line, file=sys.stderr)
