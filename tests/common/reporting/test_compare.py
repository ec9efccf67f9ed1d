from __future__ import annotations

import shutil

import pytest

from common.reporting.__main__ import main
from common.reporting.build import build
from common.reporting.compare import compare
from common.reporting.rows import read_rows, write_rows
from common.reporting.timing import record_time


@pytest.fixture
def trees(root):
    """Two equal result trees."""
    with record_time("toy", "table1", root / "reports"):
        build(root / "papers", root / "reports")
    (root / "reports/times/times.csv").write_text("stage,seconds\ntable1,1\n")
    a, b = root / "a", root / "b"
    for tree in (a, b):
        for part in ("papers", "reports"):
            shutil.copytree(root / part, tree / part)
    return a, b


def test_equal_trees_are_equal_whatever_their_times(trees, capsys):
    a, b = trees
    (b / "reports/times/times.csv").write_text("stage,seconds\ntable1,2\n")
    assert not compare(a, b)
    assert main(["compare", str(a), str(b)]) == 0
    assert "the same within the tolerances" in capsys.readouterr().out


def test_a_planted_change_is_found_beyond_the_tolerance_only(trees, capsys):
    a, b = trees
    path = b / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    rows.loc[5, "value"] *= 1.04
    write_rows(path, rows)
    assert not compare(a, b)
    rows.loc[5, "value"] *= 1.5
    write_rows(path, rows)
    (found,) = compare(a, b).values
    assert "table1.csv" in found
    assert "bowl" in found
    assert main(["compare", str(a), str(b)]) == 1
    assert "values that differ: 1" in capsys.readouterr().out
    assert main(["compare", str(a), str(b), "--rtol", "0.5"]) == 0
    assert main(["compare", str(a / "papers"), str(b / "papers")]) == 1
    assert main(["compare", str(a / "papers/toy/results/table1.csv"), str(path)]) == 1


def test_verdicts_missing_rows_and_files_are_listed(trees):
    a, b = trees
    cells = b / "reports/cells.csv"
    cells.write_text(cells.read_text().replace("worse", "better"))
    (b / "reports/toy/table2.csv").unlink()
    path = b / "papers/toy/results/table1.csv"
    write_rows(path, read_rows(path).iloc[1:])
    differences = compare(a, b)
    assert len(differences.verdicts) == 1
    assert differences.verdicts[0].endswith("verdict worse -> better")
    assert len(differences.missing) == 2
    assert (differences.extra, differences.values) == ([], [])
    assert len(compare(b, a).extra) == 2


def test_lines_without_keys_are_matched_by_position(tmp_path):
    (tmp_path / "a.csv").write_text("loss\n1\nnan\ninf\n")
    (tmp_path / "b.csv").write_text("loss\n1.01\nnan\n-inf\n")
    assert compare(tmp_path / "a.csv", tmp_path / "b.csv").values == ["a.csv: #2: loss inf -> -inf"]


def test_unusable_input_has_its_own_exit_status(trees, capsys):
    a, b = trees
    assert main(["compare", str(a), str(a / "nowhere")]) == 2
    (b / "reports/cells.csv").write_text("")
    assert main(["compare", str(a), str(b)]) == 2
    assert "cells.csv: not a CSV file" in capsys.readouterr().err
