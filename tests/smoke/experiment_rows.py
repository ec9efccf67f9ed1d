"""What the tests of experiments share: running one, and holding the claims against its rows."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from common.reporting.claims import Claims
from common.reporting.rows import read_rows, select_rows, write_rows


def run(experiment: ModuleType, folder: Path, params: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of an experiment as the report reads them; its cache of tasks is a fresh one."""
    path = folder / f"{experiment.__name__.rpartition('.')[2]}.csv"
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        write_rows(path, experiment.run(params, Path(cache)))
    return read_rows(path)


def assert_claims_have_rows(claims: Claims, results: Mapping[str, pd.DataFrame], ignored: Collection[str]) -> None:
    """Assert that all that the claims select from ``results`` is there, whatever stands in the ``ignored`` columns."""
    for entry in (*claims.items, *claims.claims):
        name = Path(entry.results[0]).stem
        if name not in results:
            continue
        if hasattr(entry, "columns"):
            cells = [(row, column) for row in entry.rows for column in entry.columns]
            selections = [selection for cell in cells for selection in entry.selections(*cell)]
        else:
            sides = [(one, side) for one in entry.comparisons for side in (one.left, one.right) if side is not None]
            selections = [selection for one, side in sides for selection in one.selections(side)]
        for selection in selections:
            anywhere = {column: value for column, value in selection.items() if column not in ignored}
            assert len(select_rows(results[name], anywhere)), f"{entry.id}: {anywhere}"
