"""A clone of this checkout, uncommitted changes included, whose parameters are small and where nothing has run yet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SMOKE = Path(__file__).resolve().parent
ROOT = SMOKE.parents[1]
TIMEOUT = 1200  # seconds
WRITTEN_BY_STAGES = re.compile(r"(papers/[^/]+/results|reports)/|(.*/)?dvc\.lock$")


class SmokeClone:
    """A folder with the project, and commands in it as a user types them."""

    def __init__(self, root: Path, *, git: bool = True) -> None:
        self.root = root
        for name in _files():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
        for overlay in SMOKE.glob("*.yaml"):
            path = root / "papers" / overlay.stem / "params.yaml"
            small = merged(yaml.safe_load(path.read_text()), yaml.safe_load(overlay.read_text()))
            path.write_text(yaml.safe_dump(small, sort_keys=False))
        if git:
            self.run("git", "init", "--quiet")
            self.run("git", "add", "--all")
            self.run("git", "-c", "user.name=smoke", "-c", "user.email=smoke@localhost", "commit", "-qm", "smoke")

    def run(self, *words: str) -> str:
        """Run a command and return what it printed; one that fails is an AssertionError with its output."""
        done = subprocess.run(
            words, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command as the leader of a process group of its own."""
        return subprocess.Popen(words, cwd=self.root, env=self.environment, start_new_session=True)

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with its interpreter as ``python``, this clone's packages, and one thread."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
        own = {"PATH": path, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "GLOBOPT_WORKERS": "1"}
        return inherited | own


def merged(params: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """Return ``params`` with the overlay's values, key by key; the overlay must not have keys of its own."""
    assert overlay.keys() <= params.keys(), f"params.yaml has no {sorted(overlay.keys() - params.keys())}"
    return params | {
        key: merged(params[key], value) if isinstance(value, dict) else value for key, value in overlay.items()
    }


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = listed.stdout.rstrip("\0").split("\0")
    return [name for name in names if not WRITTEN_BY_STAGES.match(name) and (ROOT / name).is_file()]
