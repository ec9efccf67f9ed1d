from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from common.reporting import site
from common.reporting.__main__ import main
from common.reporting.build import build
from common.reporting.figures import regret_curves, save_figure
from common.reporting.rows import read_rows
from common.reporting.timing import record_time


@pytest.fixture
def reports(root):
    rows = read_rows(root / "papers/toy/results/table1.csv")
    for name in ("figure1", "figure2"):
        save_figure(regret_curves(rows), root / "reports" / "toy" / name)
    return root / "reports"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Page(HTMLParser):
    """Collects what a browser would load, all ids, and whether the tags are balanced."""

    void = frozenset(["meta", "link", "input", "img", "br", "hr"])

    def __init__(self, text):
        super().__init__()
        self.loads, self.ids, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loads += [value for key, value in attributes.items() if key in {"src", "href", "xlink:href", "action"}]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()


def test_the_page_loads_nothing_and_its_ids_are_unique(root, reports):
    build(root / "papers", reports)
    text = (reports / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "://" not in text
    assert "@import" not in text
    assert all(load.startswith(("#", "data:")) for load in page.loads)
    assert len(page.ids) == len(set(page.ids))
    referred = {load[1:] for load in page.loads if load.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred <= set(page.ids)
    assert "A toy paper with &lt;angle&gt; &amp; ampersand" in text
    assert text.count("<svg") == 2
    assert "python -m papers.toy.experiments table1" in text


def test_a_drawing_is_shown_with_half_of_its_bytes_and_all_of_its_text_and_curves(reports):
    svg = (reports / "toy/figure1.svg").read_text()
    inline = str(site._inline(reports / "toy", "figure1", "toy-figure1"))
    assert len(inline) < 0.7 * len(svg)
    assert re.findall(r">([^<>]*\S[^<>]*)</text>", inline) == re.findall(r">([^<>]*\S[^<>]*)</text>", svg)
    full, short = (re.findall(r' d="([^"]*)"', text) for text in (svg, inline))
    assert len(full) == len(short)
    for exact, rounded in zip(full, short, strict=True):
        numbers = [[float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", path)] for path in (exact, rounded)]
        assert numbers[1] == pytest.approx(numbers[0], abs=0.1)
        assert re.findall("[A-Za-z]", exact) == re.findall("[A-Za-z]", rounded)


def test_every_stage_has_its_command_and_its_time_where_it_is_known(root, reports, add_stage):
    add_stage("never", "other")
    with record_time("toy", "table1", reports):
        pass
    build(root / "papers", reports)
    text = (reports / "index.html").read_text()
    stages = text[text.index('id="stages"') :]
    assert "<code>python -m papers.toy.experiments never</code>" in stages
    assert "1 of 2 have a record of their last run" in stages
    markdown = (reports / "toy/README.md").read_text()
    assert "| never | `python -m papers.toy.experiments never` |" in markdown
    assert "| width | not given | 128 | the authors' code |" in markdown
    assert "![Regret against evaluations](figure1.svg)" in markdown


def test_the_answer_is_at_the_head_of_page_and_markdown(root, reports):
    build(root / "papers", reports)
    counted = "2 reproduced, 1 worse, 1 unreported, 1 not run"
    text = (reports / "index.html").read_text()
    assert text.index(counted) < text.index("<main>")
    head, *_ = (reports / "README.md").read_text().split("\n## ")
    assert (
        f"| [A toy paper with <angle> & ampersand](#a-toy-paper-with-angle--ampersand) | {counted} | 1 holds |  |"
        in head
    )


def test_a_large_svg_is_shown_as_png(root, reports, monkeypatch):
    monkeypatch.setattr(site, "MAX_SVG_BYTES", 100)
    build(root / "papers", reports)
    text = (reports / "index.html").read_text()
    assert "<svg" not in text
    assert text.count("data:image/png;base64,") == 2


def test_a_page_that_grew_too_large_is_refused(root, reports, monkeypatch):
    monkeypatch.setattr(site, "MAX_PAGE_BYTES", 10_000)
    with pytest.raises(ValueError, match="make the figures smaller"):
        build(root / "papers", reports)


def test_equal_inputs_give_equal_bytes_and_times_enter_only_the_page(root, reports):
    build(root / "papers", reports)
    first = contents(reports)
    build(root / "papers", reports)
    assert contents(reports) == first
    with record_time("toy", "table1", reports):
        pass
    build(root / "papers", reports)
    changed = {path.as_posix() for path, data in contents(reports).items() if first.get(path) != data}
    assert changed == {"index.html", "times/toy.table1.json"}


def test_the_files_agree_with_the_cells(root, reports):
    cells = build(root / "papers", reports)
    written = pd.read_csv(reports / "cells.csv")
    assert written["ours"].tolist() == pytest.approx(cells["ours"].tolist(), rel=1e-9, nan_ok=True)
    wide = pd.read_csv(reports / "toy/table1.csv")
    assert wide["row"].tolist() == ["Bowl d=10, ours", "Bowl d=10, peer"]
    assert wide["1e3 ours"].tolist() == pytest.approx(cells["ours"].iloc[[1, 3]].tolist())
    assert json.loads((reports / "metrics.json").read_text()) == {
        "toy": {"numbers": {"reproduced": 2, "worse": 1, "unreported": 1, "not run": 1}, "claims": {"holds": 1}}
    }
    markdown = (reports / "toy/table1.md").read_text()
    assert re.search(r"\| Bowl d=10, ours \| 1 → [\d.]+ \[[\d.]+, [\d.]+\] ✓ \|", markdown)
    assert "- Bowl d=10, peer: copy error" in markdown
    readme = (reports / "README.md").read_text()
    assert "| Ours beats the peer. | 2 of 2 | ✓ holds |" in readme
    assert "(toy/figure1.svg)" in readme
    assert len(pd.read_csv(reports / "toy/comparisons.csv")) == 2


def test_a_secondary_item_is_counted_at_its_table_and_not_at_the_head(root, reports):
    build(root / "papers", reports)
    cells = (reports / "cells.csv").read_bytes()
    file = root / "papers/toy/claims.yaml"
    file.write_text(
        file.read_text().replace("metric: regret\n    higher", "metric: regret\n    headline: false\n    higher")
    )
    build(root / "papers", reports)
    assert (reports / "cells.csv").read_bytes() == cells
    counted = {"toy": {"numbers": {"not run": 1}, "claims": {"holds": 1}}}
    assert json.loads((reports / "metrics.json").read_text()) == counted
    own = "2 reproduced, 1 worse, 1 unreported"
    assert f"These verdicts are not in the counts of the paper: {own}." in (reports / "toy/table1.md").read_text()
    assert f"(toy/table1.md) (not counted above: {own})" in (reports / "README.md").read_text()
    text = (reports / "index.html").read_text()
    assert text.index('id="toy-table1"') < text.index("<b>2</b> reproduced")


def test_a_benchmark_is_shown_and_judged_nowhere(root, reports, request):
    build(root / "papers", reports)
    before = contents(reports)
    request.getfixturevalue("suite")
    build(root / "papers", reports)
    after = contents(reports)
    assert {path.as_posix() for path in after if before.get(path) != after[path]} == {
        "index.html", "README.md", "toy/suite.csv", "toy/suite_totals.csv", "toy/suite.md",
    }  # fmt: skip
    assert "Tables beyond the paper:\n\n- [A suite](toy/suite.md)\n" in (reports / "README.md").read_text()
    page = Page((reports / "index.html").read_text())
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {"benchmarks", "toy-suite"} <= set(page.ids)


def test_stages_that_did_not_run_here_are_marked(root, reports):
    before = build(root / "papers", reports)
    assert "Not re-run here" not in (reports / "index.html").read_text()
    after = build(root / "papers", reports, stale=["toy.table1"])
    pd.testing.assert_frame_equal(before, after)
    assert (reports / "index.html").read_text().count("Not re-run here") == 2
    assert "Not re-run here" in (reports / "toy/table1.md").read_text()
    assert "Not re-run here" not in (reports / "toy/table2.md").read_text()
    with pytest.raises(ValueError, match="no stage is called 'tabel1'"):
        build(root / "papers", reports, stale=["tabel1"])


def test_a_paper_without_any_results_is_reported_as_not_run(root):
    (root / "papers/toy/results/table1.csv").unlink()
    cells = build(root / "papers", root / "reports")
    assert set(cells["verdict"]) == {"not run"}


def test_the_command_line(root, capsys):
    options = ["--papers-dir", str(root / "papers"), "--reports-dir", str(root / "reports")]
    assert main(["build", *options]) == 0
    assert "2 reproduced" in capsys.readouterr().out
    (root / "papers/toy/results/table1.csv").write_text("nonsense\n1\n")
    assert main(["build", *options]) == 2
    assert "table1.csv: column 'experiment' is missing" in capsys.readouterr().err
    assert main(["build", "--papers-dir", str(root / "nowhere")]) == 2


def test_times_hold_the_machine_and_are_written_only_on_success(tmp_path):
    with record_time("toy", "good", tmp_path):
        sum(range(10**5))
    record = json.loads((tmp_path / "times/toy.good.json").read_text())
    assert record["seconds"] >= 0
    assert record["peak_rss_mb"] > 1
    assert record["machine"]["cores"] >= 1
    with pytest.raises(KeyError), record_time("toy", "bad", tmp_path):
        raise KeyError
    assert not (tmp_path / "times/toy.bad.json").exists()


def test_the_page_says_what_the_spot_check_found(root, reports):
    (reports / "times").mkdir()
    found = {"seed": 7, "replicates": 2, "tested": 6, "failed": ["a cell"], "not_rerun": ["toy.circuit"]}
    (reports / "times/spotcheck.json").write_text(json.dumps(found))
    build(root / "papers", reports)
    text = " ".join((reports / "index.html").read_text().split())
    assert "6 cells tested on fresh keys (seed 7, 2 replicates), 1 differ." in text
    assert "<code>toy.circuit</code> was not re-run here" in text


def test_the_page_says_what_the_benchmarks_measured(root, reports):
    (reports / "times").mkdir()
    measured = {
        "name": "batch", "compares": "one by one / batch", "floor": 2.0, "result": "pass", "ratio": 4.5,
        "figures": {"batch (s)": 0.25},
    }  # fmt: skip
    skipped = {"name": "card", "compares": "a / b", "floor": None, "result": "skipped", "reason": "no such device"}
    machine = {"cpu": "a processor", "threads": 1}
    record = {"date": "2026-01-02T03:04:05", "machine": machine, "benchmarks": [measured, skipped]}
    (reports / "times/benchmarks.json").write_text(json.dumps(record))
    build(root / "papers", reports)
    text = " ".join((reports / "index.html").read_text().split())
    assert "a processor, 1 thread, 2026-01-02." in text
    assert '<td>batch</td><td class="number" data-value="4.5">4.5</td>' in text
    assert "one by one / batch <small>(batch (s) 0.25)</small>" in text
    assert "a / b <small>(no such device)</small>" in text


def test_the_page_says_what_the_drills_survived(root, reports):
    build(root / "papers", reports)
    assert "Drills" not in (reports / "index.html").read_text()
    machine = {"cpu": "a processor", "cores": 2}
    common = {"does": "kill -9 & again", "times": 20, "seed": 7, "date": "2026-01-02T03:04:05", "machine": machine}
    drills = [
        {"name": "kill", "run": 20, "survived": 19, "result": "LOST", "notes": ["20 early", "3: Lost: a < b"]},
        {"name": "short", "run": 2, "survived": 2, "result": "pass", "notes": []},
        {"name": "mount", "run": 0, "survived": 0, "result": "skipped", "notes": ["unshare is not installed"]},
    ]
    (reports / "drills.json").write_text(json.dumps({"drills": [common | drill for drill in drills]}))
    build(root / "papers", reports)
    text = " ".join((reports / "index.html").read_text().split())
    assert '<td>kill</td><td class="number" data-value="20">20</td><td class="number">19</td><td>LOST</td>' in text
    assert "<td>kill -9 &amp; again <small>(20 early; 3: Lost: a &lt; b)</small></td>" in text
    assert '<td>short</td><td class="number" data-value="2">2 of 20</td><td class="number">2</td><td>pass</td>' in text
    assert "<td>kill -9 &amp; again</td>" in text
    assert "<td>skipped</td><td>kill -9 &amp; again <small>(unshare is not installed)</small></td>" in text
    assert '<td class="number">7</td><td>a processor, 2 cores</td><td>2026-01-02</td>' in text
