from __future__ import annotations

import pandas as pd
import pytest

from common.reporting.figures import METHODS, method_style, regret_curves, save_figure
from common.reporting.rows import read_rows


def test_two_runs_give_the_same_bytes(root):
    rows = read_rows(root / "papers/toy/results/table1.csv")
    for name in ("a", "b"):
        save_figure(regret_curves(rows, statistic="mean"), root / name)
    for suffix in ("svg", "png"):
        assert (root / f"a.{suffix}").read_bytes() == (root / f"b.{suffix}").read_bytes()
    assert "<dc:date>" not in (root / "a.svg").read_text()


def test_curves_are_the_median_of_each_panel_and_never_below_the_floor(root):
    rows = read_rows(root / "papers/toy/results/table1.csv")
    rows.loc[rows["evaluations"] == 1000, "value"] = 0.0
    figure = regret_curves(rows, floor=1e-6)
    assert [axis.get_title() for axis in figure.axes] == ["bowl, d = 10", "bowl, d = 30"]
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    chosen = rows[(rows["d"] == 30) & (rows["method"] == "peer") & (rows["evaluations"] == 100)]
    assert lines["peer"].get_xdata().tolist() == [100, 1000]
    assert lines["peer"].get_ydata() == pytest.approx([chosen["value"].median(), 1e-6])


def test_unknown_metric_or_statistic_is_refused(root):
    rows = read_rows(root / "papers/toy/results/table1.csv")
    with pytest.raises(ValueError, match="no rows with metric 'success'"):
        regret_curves(rows, metric="success")
    with pytest.raises(ValueError, match="statistic"):
        regret_curves(rows, statistic="mode")


def test_many_curves_are_told_apart(root):
    rows = read_rows(root / "papers/toy/results/table1.csv")
    methods = METHODS[:12]
    figure = regret_curves(pd.concat([rows[rows["method"] == "ours"].assign(method=method) for method in methods]))
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(methods)
    assert {band.get_alpha() for band in figure.axes[0].collections} == {0.05}


def test_every_method_has_a_look_of_its_own():
    looks = [tuple(method_style(method).values()) for method in METHODS]
    assert len(set(looks)) == len(METHODS)
    assert method_style("a third party's") == method_style("a third party's")
