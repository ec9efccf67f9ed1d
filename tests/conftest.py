from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "smoke"))

from smoke_clone import SmokeClone


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """One small clone for all tests of a session; tests that use it belong to the xdist group "smoke"."""
    return SmokeClone(tmp_path_factory.mktemp("clone"))
