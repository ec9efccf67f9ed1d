from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.metrics.intervals import bootstrap_mean, paired_difference, wilson_interval
from common.reporting.benchmarks import CELL_COLUMNS, benchmark_tables
from common.reporting.build import build
from common.reporting.claims import Benchmark, load_claims
from common.reporting.rows import COLUMNS, read_rows
from common.reporting.tables import hit_cell, mean_cell


@pytest.fixture
def benchmark_of(root, suite):
    return load_claims(root / "papers/toy/claims.yaml").benchmarks[0]


def by_name(table, *key):
    return table.set_index(list(key)).to_dict("index")


def test_cells_by_hand(benchmark_of, suite):
    cells = by_name(benchmark_tables(benchmark_of, read_rows(suite)).cells, "method", "problem")
    assert list(cells) == [("a", "p"), ("a", "q"), ("b", "p"), ("b", "q"), ("c", "p")]
    # p: in fold 0 a and b solve and tie before c; in fold 1, which c does not have, b is before a.
    assert [cell["n"] for cell in cells.values()] == [2, 2, 2, 2, 1]
    assert [cell["mean"] for cell in cells.values()] == pytest.approx([1.25, 0, 0.55, 4, 3])
    assert [cell["median"] for cell in cells.values()] == pytest.approx([1.25, 0, 0.55, 4, 3])
    assert [cell["solved"] for cell in cells.values()] == [0.5, 1, 1, 0, 0]
    assert [cell["rank"] for cell in cells.values()] == [1.75, 1, 1.25, 2, 3]
    assert [cell["best"] for cell in cells.values()] == [False, True, True, False, False]
    assert (cells["a", "p"]["low"], cells["a", "p"]["high"]) == (0.5, 2)
    assert (cells["b", "q"]["low"], cells["b", "q"]["high"]) == (4, 4)
    assert math.isnan(cells["c", "p"]["low"])
    wilson = wilson_interval(1, 2)
    assert (cells["a", "p"]["solved_low"], cells["a", "p"]["solved_high"]) == (wilson.low, wilson.high)


def test_totals_by_hand(benchmark_of, suite):
    totals = by_name(benchmark_tables(benchmark_of, read_rows(suite)).totals, "method")
    assert list(totals) == ["a", "b", "c"]
    expected = {"problems": [2, 2, 1], "n": [2, 2, 1], "solved": [0.75, 0.5, 0], "rank": [1.375, 1.625, 3]}
    for column, values in expected.items():
        assert [line[column] for line in totals.values()] == values
    assert [line["best"] for line in totals.values()] == [1, 1, 0]
    # a solves 2 and 1 of the two problems, b 1 and 1; c has one fold of p alone, where a solves.
    assert [line["difference"] for line in totals.values()] == pytest.approx([math.nan, 0.25, 1], nan_ok=True)
    assert (totals["b"]["difference_low"], totals["b"]["difference_high"]) == (0, 0.5)
    assert (totals["b"]["solved_low"], totals["b"]["solved_high"]) == (0.5, 0.5)
    assert math.isnan(totals["c"]["difference_low"])


def test_hits_by_hand(benchmark_of, suite):
    rows = read_rows(suite)
    smaller = rows[(rows["metric"] == "hit") & (rows["experiment"] == "suite")].assign(evaluations=50, value=1.0)
    hits = by_name(benchmark_tables(benchmark_of, pd.concat([rows, smaller])).hits, "method", "problem")
    assert [line["median"] for line in hits.values()] == [math.inf, 3, 6, math.inf, math.inf]
    assert {line["budget"] for line in hits.values()} == {100}
    assert [line["best"] for line in hits.values()] == [False, True, True, False, False]


def test_the_page_of_a_benchmark(root, suite):
    build(root / "papers", root / "reports")
    markdown = (root / "reports/toy/suite.md").read_text()
    matrices = [line for line in markdown.splitlines() if line.startswith(("| a |", "| b |", "| c |"))]
    assert matrices == [
        "| a | 0.75 [0.5, 1] | 1.38 | 1 |  | 2 | 2 |",
        "| b | 0.5 [0.5, 0.5] | 1.62 | 1 | 0.25 [0, 0.5] | 2 | 2 |",
        "| c | 0 | 3 | 0 | 1 | 1 | 1 |",
        "| a | 1.25 (1/2) | **0** |",
        "| b | **0** | 4 |",
        "| c | 3 (0/1) |  |",
        "| a | > 100 | **3** |",
        "| b | **6** | > 100 |",
        "| c | > 100 (1) |  |",
    ]
    assert list(pd.read_csv(root / "reports/toy/suite.csv").columns) == CELL_COLUMNS
    html = (root / "reports/index.html").read_text()
    assert '<td class="number" data-value="1.25">1.25 (1/2)</td>' in html
    assert '<td class="number" data-value="inf">&gt; 100</td>' in html


def test_a_benchmark_without_rows_is_not_run(root, suite):
    suite.unlink()
    build(root / "papers", root / "reports")
    assert "Not run." in (root / "reports/toy/suite.md").read_text()
    assert (root / "reports/toy/suite.csv").read_text() == ",".join(CELL_COLUMNS) + "\n"


def test_rows_of_two_experiments_are_not_mixed(root, suite):
    file = root / "papers/toy/claims.yaml"
    file.write_text(file.read_text().replace("    select: {experiment: suite}\n", ""))
    with pytest.raises(ValueError, match="benchmark suite: several rows for"):
        build(root / "papers", root / "reports")


def test_the_stage_and_the_spot_check_know_the_rows(root, suite, add_stage):
    add_stage("suite", "suite")
    build(root / "papers", root / "reports", stale=["suite"])
    assert "Not re-run here" in (root / "reports/toy/suite.md").read_text()
    assert "python -m papers.toy.experiments suite" in (root / "reports/index.html").read_text()
    selections = list(load_claims(root / "papers/toy/claims.yaml").selections())
    assert {"experiment": "suite", "metric": "regret", "evaluations": (10,)} in selections
    assert {"experiment": "suite", "metric": "hit"} in selections


METHODS = ("m0", "m1", "m2", "m3")


@pytest.fixture(scope="module")
def large():
    """Rows of 4 methods on 3 problems in 2 dimensions with 8 folds, and the benchmark that orders the methods."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            ("e", problem, d, method, fold, evaluations, "regret", 10 ** generator.uniform(-3 - 0.5 * k, 2))
            for problem in ("p", "q", "r")
            for d in (2, 3)
            for k, method in enumerate(METHODS)
            for fold in range(8)
            for evaluations in (10, 100)
        ],
        columns=COLUMNS,
    )
    order = METHODS[::-1]
    return rows, Benchmark("large", "", "", "", (), "regret", {}, 0.1, (10, 100), "m1", order)


def test_totals_agree_with_loops(large):
    rows, benchmark = large
    tables = benchmark_tables(benchmark, rows)
    solved = rows.assign(solved=rows["value"] <= 0.1)
    shares = solved.groupby(["evaluations", "method", "replicate"])["solved"].mean()
    for line in tables.totals.itertuples():
        own, reference = (shares[line.evaluations, method].to_numpy() for method in (line.method, "m1"))
        assert (line.solved, line.solved_low, line.solved_high) == pytest.approx(bootstrap_mean(own))
        if line.method != "m1":
            expected = paired_difference(reference, own)
            assert (line.difference, line.difference_low, line.difference_high) == pytest.approx(expected)
    # Ranks of four methods add up to ten wherever all have run, however many tie.
    assert tables.totals.groupby("evaluations")["rank"].sum().tolist() == pytest.approx([10, 10])
    assert (
        tables.totals["solved"].groupby(tables.totals["evaluations"]).apply(lambda x: x.is_monotonic_decreasing).all()
    )
    assert list(dict.fromkeys(tables.cells["method"])) == list(benchmark.methods)


def test_the_order_of_the_rows_does_not_matter(large):
    rows, benchmark = large
    first = benchmark_tables(benchmark, rows)
    second = benchmark_tables(benchmark, rows.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(first.cells, second.cells)
    pd.testing.assert_frame_equal(first.totals, second.totals)


def test_missing_folds_and_problems_are_left_out_in_pairs(large):
    """m0 lacks fold 7 of one problem and another problem entirely; the reference keeps its own numbers."""
    rows, benchmark = large
    of_m0 = rows["method"] == "m0"
    one_fold = of_m0 & (rows["problem"] == "p") & (rows["d"] == 2) & (rows["replicate"] == 7)
    problem = of_m0 & (rows["problem"] == "r") & (rows["d"] == 3)
    full, part = (
        by_name(benchmark_tables(benchmark, some).totals, "evaluations", "method")
        for some in (rows, rows[~one_fold & ~problem])
    )
    assert (part[10, "m0"]["problems"], part[10, "m0"]["n"]) == (5, 7)
    assert part[10, "m1"]["solved"] == full[10, "m1"]["solved"]
    both = rows[(rows["replicate"] < 7) & (rows["evaluations"] == 10) & ~((rows["problem"] == "r") & (rows["d"] == 3))]
    share = (both["value"] <= 0.1).groupby(both["method"]).mean()
    assert part[10, "m0"]["solved"] == pytest.approx(share["m0"])
    assert part[10, "m0"]["difference"] == pytest.approx(share["m1"] - share["m0"])


def test_methods_that_are_not_listed_are_left_out(large):
    rows, benchmark = large
    only = Benchmark(**{**vars(benchmark), "methods": ("m1", "m3", "absent")})
    tables = benchmark_tables(only, rows)
    assert set(tables.totals["method"]) == {"m1", "m3"}
    assert tables.cells["rank"].max() <= 2


def test_values_that_are_not_finite_are_last_and_unsolved(large):
    rows, benchmark = large
    rows = rows.assign(value=rows["value"].mask(rows["method"] == "m2", math.nan))
    tables = benchmark_tables(benchmark, rows)
    cells = tables.cells[tables.cells["method"] == "m2"]
    assert cells["rank"].tolist() == [4] * 12
    assert cells["solved"].max() == 0


@pytest.mark.parametrize(
    ("solved", "n", "text"),
    [(10, 10, "0"), (9, 10, "1.5 (9/10)"), (0, 10, "1.5"), (3, 3, "0 (3/3)"), (0, 3, "1.5 (0/3)")],
)
def test_how_a_mean_is_shown(solved, n, text):
    line = SimpleNamespace(solved=solved / n, n=n, mean=1.5)
    assert mean_cell(10)(line) == (text, 1.5)


@pytest.mark.parametrize(
    ("median", "n", "text"), [(2753.4, 10, "2753"), (math.inf, 10, "> 1e5"), (math.inf, 2, "> 1e5 (2)")]
)
def test_how_a_hit_is_shown(median, n, text):
    line = SimpleNamespace(median=median, n=n, budget=100_000)
    assert hit_cell(10)(line) == (text, median)
