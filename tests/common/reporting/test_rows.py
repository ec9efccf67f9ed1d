from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.reporting.rows import COLUMNS, log_grid, read_rows, replicate_values, write_rows


def row(**changes: object) -> dict[str, object]:
    return {
        "experiment": "table1",
        "problem": "bowl",
        "d": 10,
        "method": "ours",
        "replicate": 0,
        "evaluations": 100,
        "metric": "regret",
        "value": 0.1,
        **changes,
    }


def test_rows_round_trip_sorted_and_do_not_depend_on_their_order(tmp_path):
    values = [1 / 3, math.pi * 1e-9, math.inf, math.nan, -2.5e17]
    rows = [row(replicate=i, value=value) for i, value in enumerate(values)]
    write_rows(tmp_path / "a.csv", rows)
    write_rows(tmp_path / "b.csv", pd.DataFrame(rows[::-1]))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    read = read_rows(tmp_path / "a.csv")
    assert list(read.columns) == COLUMNS
    assert read["value"].tolist() == pytest.approx(values, rel=1e-9, nan_ok=True)
    assert read["replicate"].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_failing_write_leaves_the_old_file(tmp_path):
    write_rows(tmp_path / "a.csv", [row()])
    before = (tmp_path / "a.csv").read_bytes()
    with pytest.raises(ValueError, match=r"a\.csv: column 'd'"):
        write_rows(tmp_path / "a.csv", [row(d="ten")])
    assert (tmp_path / "a.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV file"),
        ("experiment,problem\n", "column 'd' is missing"),
        (",".join([*COLUMNS, "extra"]) + "\n", "column 'extra' is unknown"),
        (",".join(COLUMNS) + "\nt,p,1.5,m,0,1,r,1\n", "column 'd', row 1: '1.5' is not an integer"),
        (",".join(COLUMNS) + "\nt,p,1e300,m,0,1,r,1\n", "column 'd', row 1: '1e300' is not an integer"),
        (",".join(COLUMNS) + "\nt,p,1,m,0,1,r,1,2\n", "more fields than columns"),
        (",".join(COLUMNS) + "\nt,p,1,m,0,1,r,1\nt,p,1,m,1,1,r,\n", "column 'value', row 2: '' is not a number"),
        (",".join(COLUMNS) + "\nt,,1,m,0,1,r,1\n", "column 'problem', row 1"),
        (",".join(COLUMNS) + "\nt,p,1,m,0,1,r,1\nt,p,1,m,0,1,r,2\n", "two rows have the same key"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_rows(path)
    assert str(path) in str(error.value)


@given(budget=st.integers(1, 10**7), per_decade=st.integers(1, 20), data=st.data())
def test_log_grid_holds_its_ends_and_the_powers_of_ten(budget, per_decade, data):
    start = data.draw(st.integers(1, budget))
    grid = log_grid(budget, per_decade, start)
    assert grid == sorted(set(grid))
    assert (grid[0], grid[-1]) == (start, budget)
    assert {10**k for k in range(8) if start <= 10**k <= budget} <= set(grid)
    assert len(grid) <= per_decade * math.log10(budget / start) + 4


def test_log_grid_refuses_an_empty_range():
    with pytest.raises(ValueError, match="start"):
        log_grid(10, start=11)


def test_selected_values_are_averaged_within_a_replicate_and_never_mixed_by_accident():
    rows = pd.DataFrame([row(d=d, replicate=r, value=10 * r + d) for d in (1, 3) for r in (1, 0)])
    assert replicate_values(rows, {"d": (1, 3)}).tolist() == [2, 12]
    assert replicate_values(rows, {"d": 3}).tolist() == [3, 13]
    assert replicate_values(rows, {"d": (1, 3, 5)}).empty
    with pytest.raises(ValueError, match="mixes several values of 'd'"):
        replicate_values(rows, {"problem": "bowl"})


def test_a_replicate_that_lacks_a_combination_is_left_out():
    rows = pd.DataFrame([row(problem=p, d=d, replicate=r) for p in "pq" for d in (1, 3) for r in range(3)])
    wanted = {"problem": ("p", "q"), "d": (1, 3)}
    assert replicate_values(rows, wanted).index.tolist() == [0, 1, 2]
    lacking = (rows["problem"] == "q") & (rows["d"] == 3) & (rows["replicate"] == 1)
    assert replicate_values(rows[~lacking], wanted).index.tolist() == [0, 2]


def test_a_target_turns_rows_into_solved_or_not_before_the_mean():
    values = {0: (0.1, 5.0), 1: (1.0, math.inf), 2: (1.5, math.nan), 3: (0.0, 1.0)}
    rows = pd.DataFrame([row(d=d, replicate=r, value=v[i]) for r, v in values.items() for i, d in enumerate((1, 3))])
    assert replicate_values(rows, {"d": (1, 3)}, target=1.0).tolist() == [0.5, 0.5, 0.0, 1.0]
