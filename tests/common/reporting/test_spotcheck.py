from __future__ import annotations

import json
import math

import numpy as np
import pytest

from common.reporting.__main__ import main
from common.reporting.rows import read_rows, write_rows
from common.reporting.spotcheck import prediction_p_value, solved_p_value, spotcheck
from common.reporting.stages import read_stages, require_tool


def run(root, **options):
    return spotcheck(root / "papers", root / "reports", seed=7, **options)


def test_committed_rows_that_the_command_gives_pass(root):
    result = run(root)
    assert result.failed == []
    # The cells that the claims use: ours and peer at d=10 twice, and both at d=30 at the end.
    assert result.tested == 6
    assert result.cells["p"].is_monotonic_increasing
    assert json.loads((root / "reports/times/spotcheck.json").read_text()) == {
        "seed": 7,
        "replicates": 2,
        "tested": 6,
        "failed": [],
        "not_rerun": [],
    }


def test_without_claims_every_cell_is_tested(root):
    (root / "papers/toy/claims.yaml").unlink()
    assert run(root).tested == 8


def test_tampered_rows_fail_and_are_named(root, capsys):
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    tampered = (rows["method"] == "ours") & (rows["evaluations"] == 1000) & (rows["d"] == 10)
    rows.loc[tampered, "value"] /= 20
    write_rows(path, rows)
    options = ["--papers-dir", str(root / "papers"), "--reports-dir", str(root / "reports"), "--seed", "7"]
    assert main(["spotcheck", *options]) == 1
    output = capsys.readouterr().out
    assert "FAILED toy.table1: table1, bowl d=10 ours regret at 1000" in output
    assert output.count("FAILED") == 1
    assert main(["spotcheck", *options, "--papers", "absent"]) == 2


def test_a_missing_tool_is_no_failure_and_a_broken_command_is(root, add_stage):
    add_stage("needs_tool", out="table3")
    result = run(root)
    assert (result.failed, result.not_rerun) == ([], ["toy.needs_tool"])
    add_stage("broken", out="table4")
    assert run(root).failed == ["toy.broken: the command ended with status 1: no such function"]


def test_a_cell_that_the_fresh_run_lacks_fails(root):
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    write_rows(path, rows.replace({"method": {"peer": "gone"}}))
    claims = root / "papers/toy/claims.yaml"
    claims.write_text(claims.read_text().replace("peer}", "gone}"))
    assert sum("no fresh row" in line for line in run(root).failed) == 2


def claim_shares(root):
    """Make all numbers of the paper shares of solved runs: a benchmark, and a pooled claim."""
    (root / "papers/toy/claims.yaml").write_text(
        "paper: toy\ntitle: t\ncitation: c\nclaims:\n"
        "  - {id: solves, text: t, where: w, condition: c, results: [papers/toy/results/table1.csv], comparisons: [\n"
        "      {left: {method: ours}, pooled: {d: [10, 30]}, at: {problem: bowl, evaluations: 1000, metric: regret},\n"
        "       relation: above, value: 0.9, scale: solved, target: 0.8}]}\n"
        "benchmarks:\n"
        "  bowls: {title: t, where: w, results: [papers/toy/results/table1.csv], metric: regret, target: 0.8,\n"
        "          evaluations: [100, 1000], reference: ours}\n"
    )


def test_shares_of_solved_runs_are_tested_by_their_counts(root):
    claim_shares(root)
    result = run(root)
    assert result.failed == []
    cells = result.cells.set_index("cell")
    assert sorted(cells.index) == [
        "all problems: ours solved by regret at 100",
        "all problems: ours solved by regret at 1000",
        "all problems: peer solved by regret at 100",
        "all problems: peer solved by regret at 1000",
        "bowl, 10/30: ours solved by regret at 1000",
    ]
    assert (cells["n"] == 20).all()  # 10 replicates of 2 problems
    assert (cells["n_fresh"] == 4).all()
    assert cells["committed"]["bowl, 10/30: ours solved by regret at 1000"] == 1
    assert cells["p"].min() == 1


def test_one_unsolved_fresh_run_is_no_failure_and_many_are(root):
    claim_shares(root)
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    solved = (rows["method"] == "ours") & (rows["evaluations"] == 1000)
    rows.loc[solved & (rows["replicate"] > 0), "value"] = math.inf  # as if the code had become better: 2 of 20 solved
    write_rows(path, rows)
    assert [line.split(": committed")[0] for line in run(root, replicates=4).failed] == [
        "toy.table1: bowl, 10/30: ours solved by regret at 1000",
        "toy.table1: all problems: ours solved by regret at 1000",
    ]
    assert 0.05 < solved_p_value(np.ones(200, bool), np.arange(20) > 0) < 0.5
    assert solved_p_value(np.ones(200, bool), np.arange(20) > 9) < 1e-9


def test_a_method_that_lacks_a_problem_in_the_fresh_rows_fails(root):
    claim_shares(root)
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    write_rows(path, rows.replace({"d": {30: 31}}))
    assert all("no fresh row" in line for line in run(root).failed)
    assert len(run(root).failed) == 4


def test_cells_of_different_experiments_are_not_mixed(root):
    (root / "papers/toy/claims.yaml").unlink()
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    write_rows(path, [*rows.to_dict("records"), *rows.replace({"experiment": {"table1": "other"}}).to_dict("records")])
    cells = run(root).cells
    assert len(cells) == 16
    assert (cells["n"] == 10).all()
    assert (cells["n_fresh"][cells["cell"].str.startswith("other, ")] == 0).all()


def test_fisher_s_p_value_errs_on_the_quiet_side():
    generator = np.random.default_rng(0)
    chances = np.repeat([0.0, 0.1, 0.5, 0.9, 1.0], 2)  # of the problems
    p = np.array([
        solved_p_value(generator.random((20, 10)) < chances, generator.random((2, 10)) < chances) for _ in range(1000)
    ])  # fmt: skip
    assert np.mean(p < 0.05) < 0.05
    assert math.isnan(solved_p_value(np.ones(3), np.ones(0)))


def test_the_p_value_is_uniform_where_nothing_has_changed():
    generator = np.random.default_rng(0)
    p = np.array([prediction_p_value(generator.normal(size=6) - 9, generator.normal(size=2) - 9) for _ in range(2000)])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.035)


def test_the_p_value_at_its_limits():
    solved = np.full(10, 1e-14)
    assert prediction_p_value(solved, np.array([1e-12])) == 1.0
    assert prediction_p_value(np.full(10, 1.0), np.array([1.01])) > 0.5
    assert prediction_p_value(np.full(10, 1.0), np.array([2.0])) < 1e-6
    assert math.isnan(prediction_p_value(np.array([1.0]), np.array([1.0])))
    assert math.isnan(prediction_p_value(np.array([1.0, math.inf]), np.array([1.0])))


def test_stages_are_read_with_their_outs_from_the_root(root, add_stage):
    add_stage("other", out="table9")
    stages = read_stages(root / "papers")
    assert [(stage.name, stage.outs) for stage in stages] == [
        ("table1", ("papers/toy/results/table1.csv",)),
        ("other", ("papers/toy/results/table9.csv",)),
    ]
    (root / "papers/toy/dvc.yaml").write_text("stage: {}\n")
    with pytest.raises(ValueError, match=r"dvc\.yaml: not a DVC pipeline"):
        read_stages(root / "papers")


def test_a_tool_that_is_not_installed_ends_the_program_with_its_install_command(capsys):
    with pytest.raises(SystemExit) as ended:
        require_tool("no-such-tool-anywhere", "apt-get install it")
    assert ended.value.code == 69
    assert "apt-get install it" in capsys.readouterr().err
    assert require_tool("python3", "")
