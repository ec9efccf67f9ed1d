from __future__ import annotations

import pytest
import yaml

from common.reporting.claims import ClaimsError, load_claims
from common.reporting.verdicts import Tolerance


def edited(root, *path, value=...):
    """Write the toy claims with one key changed or, without a value, removed."""
    file = root / "papers" / "toy" / "claims.yaml"
    content = yaml.safe_load(file.read_text())
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def test_the_toy_claims_are_read_and_expanded(root):
    claims = load_claims(root / "papers/toy/claims.yaml")
    first, second = claims.items
    assert first.tolerance is None
    assert second.tolerance == Tolerance(relative=0.1)
    assert first.rows[1].reported == (1.0, None)
    assert first.selections(first.rows[0], "1e3") == [
        {"metric": "regret", "problem": "bowl", "d": 10, "method": "ours", "evaluations": 1000}
    ]
    (claim,) = claims.claims
    assert [comparison.setting["d"] for comparison in claim.comparisons] == [10, 30]
    assert all(comparison.setting["evaluations"] == 1000 for comparison in claim.comparisons)
    assert (claim.holds, claim.fails_below) == (1.0, 0.5)
    assert len(list(claims.selections())) == 2 * 2 + 1 + 2 * 2


def test_lists_expand_to_every_combination(root):
    comparison = {
        "left": {"method": ["a", "b"]},
        "right": {"method": ["c", "d", "e"]},
        "over": {"problem": ["p", "q"], "d": [2, 3]},
        "at": {"evaluations": "1e5", "metric": "regret"},
        "relation": "greater",
    }
    path = edited(root, "claims", 0, "comparisons", value=[comparison])
    comparisons = load_claims(path).claims[0].comparisons
    assert len(comparisons) == len({str(one) for one in comparisons}) == 2 * 3 * 2 * 2


def test_a_column_of_differences_selects_two_sides(root):
    column = {"evaluations": 1000, "minus": {"method": "peer"}}
    path = edited(root, "items", "table1", "columns", value={"1e2": {"evaluations": 100}, "gain": column})
    item = load_claims(path).items[0]
    ours, theirs = item.selections(item.rows[0], "gain")
    assert ours["method"] == "ours"
    assert theirs == ours | {"method": "peer"}
    for wrong in ({"minus": {"metod": "peer"}}, {"minus": "peer"}, {"metod": "ours", "minus": {"method": "peer"}}):
        path = edited(root, "items", "table1", "columns", value={"1e2": {"evaluations": 100}, "gain": wrong})
        with pytest.raises(ClaimsError, match="gain"):
            load_claims(path)


def test_pooled_lists_stay_together(root):
    comparison = {
        "left": {"method": "a"},
        "right": {"method": ["b", "c"]},
        "pooled": {"problem": ["p", "q"], "d": [2, 3]},
        "at": {"evaluations": 100, "metric": "regret"},
        "relation": "greater",
        "scale": "solved",
        "target": "1e-8",
    }
    path = edited(root, "claims", 0, "comparisons", value=[comparison])
    comparisons = load_claims(path).claims[0].comparisons
    assert [one.right for one in comparisons] == [{"method": "b"}, {"method": "c"}]
    pooled = {"problem": ("p", "q"), "d": (2, 3)}
    assert all(one.setting == {"evaluations": 100, "metric": "regret", **pooled} for one in comparisons)
    assert [(one.scale, one.target) for one in comparisons] == [("solved", 1e-8)] * 2


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("paper",), "other", "key 'paper' is 'other', but the folder is 'toy'"),
        (("title",), ..., "key 'title' is missing"),
        (("extra",), 1, "key 'extra' is unknown"),
        (("items", "table1", "colour"), "red", "items, table1: key 'colour' is unknown"),
        (("items", "table1", "higher_is_better"), "no", "table1: key 'higher_is_better' must be true or false"),
        (("items", "table1", "results"), "a.csv", "table1: key 'results' must be a list"),
        (("items", "table1", "columns", "1e2"), {"evals": 1}, "1e2: key 'evals' is not a column"),
        (("items", "table1", "columns", "1e2"), {"evaluations": 1.5}, "key 'evaluations' must be an integer"),
        (("items", "table1", "tolerance"), {"absolute": 1}, "table1, tolerance: key 'absolute' is unknown"),
        (("items", "table1", "rows", 0, "reported"), [1.0], "ours: key 'reported' must be a list with one value per"),
        (("items", "table1", "rows", 0, "reported"), [1.0, "x"], "key 'reported' must be a number, got 'x'"),
        (("items", "table1", "rows", 0, "row"), "Bowl d=10, peer", "has two rows called"),
        (("items", "table2", "n_paper"), ..., "table2: key 'n_paper' is missing: a spread"),
        (("items", "../x"), {}, "must be letters"),
        (("claims", 0, "id"), "table1", "key 'table1' is the id of two"),
        (("claims", 0, "condition"), ..., "claims, beats-peer: key 'condition' is missing"),
        (("claims", 0, "holds"), 2, "must be a share"),
        (("claims", 0, "comparisons", 0, "relation"), "smaller", "key 'relation' must be one of less, greater"),
        (("claims", 0, "comparisons", 0, "relation"), "ratio_falls", "key 'between' is missing"),
        (("claims", 0, "comparisons", 0, "relation"), "below", "key 'value' is missing"),
        (("claims", 0, "comparisons", 0, "right"), ..., "key 'right' is missing"),
        (("claims", 0, "comparisons", 0, "at"), {"evaluations": 1}, "must name the metric"),
        (("claims", 0, "comparisons", 0, "scale"), "solved", "key 'target' is missing"),
        (("claims", 0, "comparisons", 0, "target"), 1, "key 'target' is unknown"),
        (("claims", 0, "comparisons", 0, "pooled"), {"d": [10, 30]}, "key 'pooled' has the column 'd'"),
        (("items", "table1", "headline"), "no", "table1: key 'headline' must be true or false"),
        (("choices", 0, "why"), ..., "choices, width: key 'why' is missing"),
        (("figures", "figure1", "caption"), "x", "figures, figure1: key 'caption' is unknown"),
    ],
)
def test_a_malformed_claims_file_is_refused_with_its_place(root, path, value, message):
    file = edited(root, *path, value=value)
    with pytest.raises(ClaimsError, match=message) as error:
        load_claims(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("target", ..., "benchmarks, suite: key 'target' is missing"),
        ("colour", "red", "suite: key 'colour' is unknown"),
        ("evaluations", [], "suite: key 'evaluations' is empty"),
        ("evaluations", 10, "suite: key 'evaluations' must be a list"),
        ("evaluations", [1.5], "suite: key 'evaluations' must be an integer"),
        ("evaluations", [10, 10], "suite: key 'evaluations' has a value twice"),
        ("select", {"metric": "regret"}, "suite: key 'select' has the column 'metric'"),
        ("methods", ["b"], "suite: key 'reference' is not one of the methods"),
    ],
)
def test_a_malformed_benchmark_is_refused(root, suite, key, value, message):
    with pytest.raises(ClaimsError, match=message):
        load_claims(edited(root, "benchmarks", "suite", key, value=value))


def test_a_key_given_twice_and_broken_yaml_are_refused(root):
    file = root / "papers/toy/claims.yaml"
    file.write_text(file.read_text() + "\npaper: toy\n")
    with pytest.raises(ClaimsError, match="'paper' occurs twice"):
        load_claims(file)
    file.write_text("paper: [toy\n")
    with pytest.raises(ClaimsError, match="not valid YAML"):
        load_claims(file)
