from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from common.metrics.intervals import paired_difference
from common.reporting.cells import CELL_COLUMNS, paper_cells, result_reader
from common.reporting.claims import load_claims
from common.reporting.rows import COLUMNS, read_rows, write_rows


def judged(root):
    return paper_cells(load_claims(root / "papers/toy/claims.yaml"), result_reader(root))


def test_every_number_and_every_claim_is_one_cell(root):
    cells, comparisons = judged(root)
    assert list(cells.columns) == CELL_COLUMNS
    assert cells["verdict"].tolist() == ["reproduced", "reproduced", "worse", "unreported", "not run", "holds"]
    rows = read_rows(root / "papers/toy/results/table1.csv")
    wanted = rows[(rows["d"] == 10) & (rows["method"] == "ours") & (rows["evaluations"] == 1000)]["value"]
    cell = cells.iloc[1]
    assert cell["ours"] == pytest.approx(wanted.mean())
    assert cell["ci_low"] < cell["ours"] < cell["ci_high"]
    assert cell["n"] == 10
    not_run = cells.iloc[4]
    assert not_run[["ours", "ci_low", "ci_high", "n"]].isna().all()
    claim = cells.iloc[5]
    assert (claim["metric"], claim["ours"], claim["n"]) == ("comparisons won", 1.0, 2)
    assert comparisons["outcome"].tolist() == ["won", "won"]


def test_a_spread_replaces_the_default_tolerance_and_not_a_stated_one(root):
    file = root / "papers/toy/claims.yaml"
    content = yaml.safe_load(file.read_text())
    item = content["items"]["table1"]
    value = float(judged(root)[0]["ours"][0])
    item["rows"][0]["reported"] = [1.2 * value, None]
    file.write_text(yaml.safe_dump(content))
    assert judged(root)[0]["verdict"][0] == "reproduced"
    item.update(n_paper=100)
    item["rows"][0]["spread"] = [1e-3, None]
    file.write_text(yaml.safe_dump(content))
    assert judged(root)[0]["verdict"][0] == "better"
    item.update(tolerance={"relative": 0.25})
    file.write_text(yaml.safe_dump(content))
    assert judged(root)[0]["verdict"][0] == "reproduced"


def test_a_column_of_differences_is_paired_by_replicate(root):
    file = root / "papers/toy/claims.yaml"
    content = yaml.safe_load(file.read_text())
    columns = {"1e2": {"evaluations": 100}, "gain": {"evaluations": 1000, "minus": {"method": "peer"}}}
    content["items"]["table1"]["columns"] = columns
    file.write_text(yaml.safe_dump(content))
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    write_rows(path, rows[(rows["method"] != "peer") | (rows["replicate"] < 7)])  # only these can be paired
    at = rows[(rows["d"] == 10) & (rows["evaluations"] == 1000)].pivot(
        index="replicate", columns="method", values="value"
    )
    expected = paired_difference(at["ours"][:7], at["peer"][:7])
    cell = judged(root)[0].iloc[1]
    assert cell[["ours", "ci_low", "ci_high"]].tolist() == pytest.approx(expected)
    assert cell["n"] == 7


RATIO = {"at": {"evaluations": 1000, "metric": "regret"}, "between": {"d": [10, 30]}}


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({"relation": "less"}, ["won", "tied"]),
        ({"relation": "greater"}, ["lost", "tied"]),
        ({"relation": "less", "scale": "log10"}, ["won", "tied"]),
        ({"relation": "ratio_rises", "over": {}, **RATIO}, ["won"]),
        ({"relation": "ratio_falls", "over": {}, **RATIO}, ["lost"]),
        ({"relation": "below", "value": 0.5, "right": ...}, ["won", "lost"]),
        ({"relation": "above", "value": "5e-1", "right": ..., "scale": "log10"}, ["lost", "won"]),
        ({"relation": "less", "right": {"method": "absent"}}, ["not run", "not run"]),
        ({"relation": "less", "value": 0.2}, ["won", "won"]),
        ({"relation": "less", "value": -1.5}, ["lost", "lost"]),
        ({"relation": "greater", "value": -0.2}, ["lost", "won"]),
    ],
)
def test_every_relation(root, changes, outcomes):
    """At d=10 ours is a tenth of the peer's, at d=30 they are equal up to noise: the ratio rises with d."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            ("t", "bowl", d, method, replicate, 1000, "regret", level * generator.uniform(0.8, 1.2))
            for method, d, level in [("ours", 10, 0.1), ("peer", 10, 1.0), ("ours", 30, 1.0), ("peer", 30, 1.0)]
            for replicate in range(20)
        ],
        columns=["experiment", "problem", "d", "method", "replicate", "evaluations", "metric", "value"],
    )
    write_rows(root / "papers/toy/results/table1.csv", rows)
    file = root / "papers/toy/claims.yaml"
    content = yaml.safe_load(file.read_text())
    comparison = content["claims"][0]["comparisons"][0]
    comparison.update(changes)
    content["claims"][0]["comparisons"][0] = {key: value for key, value in comparison.items() if value is not ...}
    file.write_text(yaml.safe_dump(content))
    assert judged(root)[1]["outcome"].tolist() == outcomes


def test_the_share_of_solved_runs_is_pooled_over_problems_and_paired_by_fold(root):
    """Folds solve both problems, one or none: shares 1, 1, 0.5 and 0.5, 0, 0 on the three folds that both have."""
    solved = {("ours", 10): "++-+", ("ours", 30): "++++", ("peer", 10): "--- ", ("peer", 30): "+---"}
    rows = [
        ("t", "bowl", d, method, fold, 1000, "regret", {"+": 1e-9, "-": 3.0}[sign])
        for (method, d), signs in solved.items()
        for fold, sign in enumerate(signs)
        if sign != " "
    ]
    write_rows(root / "papers/toy/results/table1.csv", pd.DataFrame(rows, columns=COLUMNS))
    file = root / "papers/toy/claims.yaml"
    content = yaml.safe_load(file.read_text())
    common = {
        "left": {"method": "ours"}, "pooled": {"d": [10, 30]}, "scale": "solved", "target": 1e-8,
        "at": {"problem": "bowl", "evaluations": 1000, "metric": "regret"},
    }  # fmt: skip
    content["claims"][0]["comparisons"] = [
        {**common, "right": {"method": "peer"}, "relation": "greater"},
        {**common, "relation": "above", "value": 0.92},
    ]
    file.write_text(yaml.safe_dump(content))
    against_peer, against_constant = judged(root)[1].to_dict("records")
    assert against_peer["difference"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert (against_peer["n"], against_peer["outcome"]) == (3, "won")
    assert against_constant["difference"] == pytest.approx((1 + 1 + 0.5 + 1) / 4 - 0.92)
    assert (against_constant["n"], against_constant["outcome"]) == (4, "tied")
    assert against_peer["scale"] == "solved at 1e-08"
    assert against_peer["setting"].endswith("d 10/30")


def test_pairs_are_matched_by_replicate(root):
    """Each replicate differs by exactly 0.01 while replicates differ by far more: only pairing sees it."""
    rows = [
        ("t", "bowl", d, method, replicate, 1000, "regret", 10.0 * replicate + gain)
        for d in (10, 30)
        for method, gain in (("ours", 0.0), ("peer", 0.01))
        for replicate in range(5)
    ]
    rows.append(("t", "bowl", 10, "peer", 99, 1000, "regret", -1e6))
    columns = ["experiment", "problem", "d", "method", "replicate", "evaluations", "metric", "value"]
    write_rows(
        root / "papers/toy/results/table1.csv", pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)
    )
    comparisons = judged(root)[1]
    assert comparisons["outcome"].tolist() == ["won", "won"]
    assert comparisons["difference"].tolist() == pytest.approx([-0.01, -0.01])
    assert comparisons["n"].tolist() == [5, 5]


def test_an_ambiguous_selection_names_its_cell(root):
    file = root / "papers/toy/claims.yaml"
    file.write_text(file.read_text().replace("select: {problem: bowl, d: 10, method: peer}", "select: {method: peer}"))
    with pytest.raises(ValueError, match=r"toy, table1, Bowl d=10, peer, 1e2: .* mixes several values of 'd'"):
        judged(root)


def test_values_that_are_not_finite_have_no_interval(root):
    path = root / "papers/toy/results/table1.csv"
    rows = read_rows(path)
    rows.loc[rows["method"] == "ours", "value"] = np.inf
    write_rows(path, rows)
    cells, comparisons = judged(root)
    assert cells["verdict"].tolist()[:2] == ["undecided", "undecided"]
    assert comparisons["outcome"].tolist() == ["tied", "tied"]
