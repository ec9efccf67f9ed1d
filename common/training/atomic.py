"""Writing a file so that its reader finds the old content or the new one, never half of it."""

from __future__ import annotations

import os
from pathlib import Path


def atomic_write(path: Path, content: bytes) -> None:
    """Replace the content of ``path`` in one step; its folder is made if it is not there.

    A process killed during the call leaves the previous content.

    Raises:
        OSError: the folder is read-only or the disk is full; the previous content is intact.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
