"""The pipeline's stages as the report sees them: which command wrote which result file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

MISSING_TOOL = os.EX_UNAVAILABLE
"""Exit status of a command that needs a system tool which is not installed (69, as in sysexits.h)."""


def require_tool(name: str, install: str) -> str:
    """Return the path of a system tool, or end the program with status 69 and the command that installs it."""
    path = shutil.which(name)
    if path is None:
        print(f"{name} is not installed; install it with: {install}", file=sys.stderr)
        raise SystemExit(MISSING_TOOL)
    return path


@dataclass(frozen=True)
class Stage:
    """One stage of ``papers/<paper>/dvc.yaml``; ``outs`` are relative to the repository root."""

    paper: str
    name: str
    command: str
    outs: tuple[str, ...]


def read_stages(papers_dir: str | Path) -> list[Stage]:
    """Return the stages of every ``dvc.yaml`` below ``papers_dir``, in order.

    Raises:
        ValueError: a file is not valid YAML or has no ``stages``.
    """
    root = Path(papers_dir).resolve().parent
    stages = []
    for path in sorted(Path(papers_dir).glob("*/dvc.yaml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
            for name, stage in content.items():
                command = stage.get("cmd", "")
                outs = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
                folder = path.parent.resolve() / stage.get("wdir", ".")
                stages.append(
                    Stage(
                        paper=path.parent.name,
                        name=name,
                        command=command if isinstance(command, str) else " && ".join(command),
                        outs=tuple(_from_root(folder, out, root) for out in outs),
                    )
                )
        except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a DVC pipeline: {error!r}") from error
    return stages


def _from_root(folder: Path, out: str | dict[str, object], root: Path) -> str:
    name = out if isinstance(out, str) else next(iter(out))
    return Path(os.path.relpath(folder / name, root)).as_posix()


def stages_of(results: Iterable[str], stages: Iterable[Stage]) -> list[Stage]:
    """Return the stages that write any of the given result files."""
    wanted = set(results)
    return [stage for stage in stages if wanted & set(stage.outs)]
