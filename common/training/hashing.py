"""Hashes of code and configuration: a stored result is used again only where both are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import common

ROOT = Path(common.__file__).resolve().parents[1]


def code_hash(*sources: str | Path | ModuleType) -> str:
    """Return 12 hex digits for the contents of Python files, given as modules or paths, in any order.

    A package or folder stands for all Python files below it. Files count under their names relative to the
    repository, so that two checkouts agree.

    Raises:
        FileNotFoundError: there is no such file.
    """
    files = {file for source in sources for file in _python_files(source)}
    parts = sorted((_relative_name(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files)
    return _digest(parts)


def config_hash(config: Mapping[str, Any], code: str) -> str:
    """Return 12 hex digits for a configuration (values that JSON can hold, keys in any order) and its code's hash."""
    return _digest([config, code])


def _python_files(source: str | Path | ModuleType) -> list[Path]:
    if isinstance(source, ModuleType):
        if source.__file__ is None:
            raise FileNotFoundError(f"module {source.__name__} has no source file")
        path = Path(source.__file__)
        path = path.parent if path.name == "__init__.py" else path
    else:
        path = Path(source)
    path = path.resolve()
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _relative_name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
