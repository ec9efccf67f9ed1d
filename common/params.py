"""Read a section of a params.yaml: the parameters of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def read_section(path: Path, section: str, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return one section of a params.yaml.

    Args:
        required: keys that it must have.

    Raises:
        ValueError: no such file, not YAML with sections, no such section, or one that lacks a required key.
    """
    try:
        params = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(params, dict):
        raise ValueError(f"{path} must have sections, not {params!r}")
    if section not in params:
        raise ValueError(f"{path} has no section {section!r}; it has {', '.join(map(str, params)) or 'none'}")
    values = {} if params[section] is None else params[section]
    if not isinstance(values, dict):
        raise ValueError(f"{path}: section {section!r} must have keys, not {values!r}")
    for key in required:
        if key not in values:
            raise ValueError(f"{path}: section {section!r} lacks {key!r}")
    return values
