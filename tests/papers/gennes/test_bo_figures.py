"""Figures 1, 3 and 4, and the animation of Figures 1 and 2: what they draw is what the runs found."""

from __future__ import annotations

import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from common.reporting import site
from common.reporting.rows import read_rows, write_rows
from papers.gennes import animation_figure, bo_figures
from papers.gennes.experiments import figure1, figure2

SMALL = {
    "figure1": {"seed": 3, "replicates": 2, "population": 12, "sigma": 0.25, "iterations": [0, 20]},
    "figure2": {
        "seed": 3, "replicates": 1, "lr": {"rosenbrock": 1e-3, "rastrigin": 1e-3}, "population": 9, "alpha": 0.9,
        "iterations": [0, 10], "width": 8, "depth": 2,
    },
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VISIBLE = """() => [...document.querySelectorAll(".animation-frame")]
    .flatMap((one, number) => getComputedStyle(one).visibility === "visible" ? [number] : [])"""
STATES = "() => [...new Set(document.getAnimations().map((one) => one.playState))]"


def rows_of(experiment, params, folder):
    """Return an experiment's rows as a figure reads them."""
    write_rows(folder / "rows.csv", experiment.run(params, folder / "cache"))
    return read_rows(folder / "rows.csv")


def population(rows, problem, evaluations):
    points = rows[
        (rows["method"] == "population") & (rows["problem"] == problem) & (rows["evaluations"] == evaluations)
    ]
    return points.pivot(index="replicate", columns="metric", values="value").to_numpy()


def test_figure_1_has_a_panel_an_iteration_with_all_of_its_points(tmp_path):
    rows = rows_of(figure1, SMALL["figure1"], tmp_path)
    axes = bo_figures.figure1(rows).axes
    assert [axis.get_title() for axis in axes] == ["Rosenbrock, iteration 0", "Rosenbrock, iteration 20"]
    for axis, count in zip(axes, [0, 240], strict=True):
        np.testing.assert_array_equal(axis.lines[0].get_xydata(), population(rows, "rosenbrock", count))


@pytest.fixture
def bo_rows(tmp_path):
    """Two folds under two readings: GENNES spends 20 queries, L-BFGS 30 in one fold and 50 in the other."""
    rows = []
    for problem, start in (("test 0.15", 0.1), ("train 0.15", 0.3)):
        for method, spent in (("gennes", (20, 20)), ("lbfgs", (30, 50))):
            for fold in range(2):
                key = {"experiment": "bo_digits", "problem": problem, "d": 4, "method": method, "replicate": fold}
                best = {6: start, 7: start / 2 + 0.01 * fold, 8: start / 4}
                by_queries = dict(zip([0, 20, 40, 60], [start, start / 2, start / 4, start / 4], strict=True))
                curves = {"best": best, "best_by_queries": by_queries, "queries": {8: spent[fold]}}
                rows += [
                    {**key, "evaluations": count, "metric": metric, "value": value}
                    for metric, curve in curves.items()
                    for count, value in curve.items()
                ]
    write_rows(tmp_path / "bo.csv", rows)
    return read_rows(tmp_path / "bo.csv")


def test_curves_are_means_over_folds_and_end_with_the_queries(bo_rows):
    axes = bo_figures.curves(bo_rows, "test error").axes
    assert [axis.get_title() for axis in axes] == [
        "(a) digits, 15% of the images for training", "(b) digits, 15% of the images for training",
        "(a) digits, 15% of the images for the test", "(b) digits, 15% of the images for the test",
    ]  # fmt: skip
    evaluations, queries = ({line.get_label(): line for line in axis.lines} for axis in axes[:2])
    np.testing.assert_allclose(evaluations["GENNES"].get_xydata(), [[6, 0.3], [7, 0.155], [8, 0.075]])
    assert queries["GENNES"].get_xdata().tolist() == [0, 20]
    assert queries["repeated L-BFGS"].get_xdata().tolist() == [0, 20, 40]
    band = axes[0].collections[0].get_paths()[0].vertices
    at_7 = band[band[:, 0] == 7][:, 1]
    np.testing.assert_allclose([at_7.min(), at_7.max()], [0.15, 0.16])
    assert axes[0].get_ylabel() == "test error"
    assert [axis.get_xlabel() for axis in axes[2:]] == ["objective evaluations", "acquisition queries so far"]


def test_one_problem_is_one_row_of_panels(bo_rows):
    rows = bo_rows[bo_rows["problem"] == "train 0.15"].assign(problem="alpine1")
    assert [axis.get_title() for axis in bo_figures.curves(rows, "value").axes] == [
        "(a) Alpine1, d = 20", "(b) Alpine1, d = 20",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shown():
    return animation_figure.panels(SMALL)


@pytest.fixture(scope="module")
def svg(shown):
    return animation_figure.animated(shown)


@pytest.fixture(scope="module")
def inline(svg, tmp_path_factory):
    """The animation as the report has it."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "figure_animation.svg").write_text(svg)
    return str(site._inline(folder, "figure_animation", "gennes-figure_animation"))


def test_the_animation_shows_the_runs_of_figures_1_and_2(shown, tmp_path):
    rows = rows_of(figure1, SMALL["figure1"], tmp_path / "1")
    for count in (0, 20):
        iteration, points = shown[0].frames[count]
        assert iteration == count
        np.testing.assert_allclose(points, population(rows, "rosenbrock", 12 * count), rtol=1e-9)
    rows = rows_of(figure2, SMALL["figure2"], tmp_path / "2")
    for panel, problem in zip(shown[1:], ("rosenbrock", "rastrigin"), strict=True):
        for place, count in ((0, 0), (-1, 10)):
            iteration, points = panel.frames[place]
            assert iteration == count
            np.testing.assert_allclose(points, population(rows, problem, 9 * count), rtol=1e-9)


def frames_of(text):
    root = ElementTree.fromstring(text)
    return [group for group in root.iter(f"{SVG}g") if "animation-frame" in group.get("class", "").split()]


def test_every_frame_has_the_points_of_its_populations_inside_of_the_axes(shown, svg):
    frames = frames_of(svg)
    assert len(frames) == animation_figure.FRAMES
    delays = [float(re.fullmatch(r"animation-delay: ([\d.]+)s", frame.get("style"))[1]) for frame in frames]
    np.testing.assert_allclose(np.diff(delays), animation_figure.SECONDS)
    for number, frame in enumerate(frames):
        texts = [text.text for text in frame.iter(f"{SVG}text")]
        assert texts == [f"iteration {panel.frames[number][0]}" for panel in shown]
        for panel, path in zip(shown, frame.iter(f"{SVG}path"), strict=True):
            lower, upper = panel.function.bounds.numpy()
            points = panel.frames[number][1]
            points = points[((lower <= points) & (points <= upper)).all(axis=1)]
            dots = np.array(re.findall(r"M([\d.]+) ([\d.]+)h0", path.get("d")), dtype=float).reshape(-1, 2)
            assert len(dots) == len(points)
            if len(np.unique(points, axis=0)) < 3:
                continue
            # The axes are a change of scale, the second one with its direction.
            for column, sign in ((0, 1), (1, -1)):
                slope, offset = np.polyfit(points[:, column], dots[:, column], 1)
                np.testing.assert_allclose(slope * points[:, column] + offset, dots[:, column], atol=0.11)
                assert slope * sign > 0


def test_one_frame_at_a_time_and_a_still_one_without_motion(svg):
    assert sum("animation-still" in frame.get("class") for frame in frames_of(svg)) == 1
    share = float(re.search(r"} ([\d.]+)% { visibility: hidden", svg)[1])
    assert share * animation_figure.FRAMES == pytest.approx(100, abs=0.01)
    assert "prefers-reduced-motion" in svg
    for foreign in ("<script", "<image", "@import", "src="):
        assert foreign not in svg


def test_equal_runs_give_equal_bytes(shown, svg):
    assert animation_figure.animated(shown) == svg


def test_the_report_keeps_every_frame(svg, inline):
    assert len(inline) < len(svg)
    for kept in ("animation-points", "animation-label", "animation-frame", "animation-still"):
        assert inline.count(kept) == svg.count(kept)
    assert re.findall(r"M[\d.]+ [\d.]+h0", inline) == re.findall(r"M[\d.]+ [\d.]+h0", svg)
    assert ".animation-frame { visibility: hidden;" in inline
    assert inline.startswith("<svg")
    assert inline.count("{") == inline.count("}")


@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_moves_it_stops_it_and_respects_who_wants_no_motion(inline):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(60_000)  # a machine full of trainings is many times slower
        page.set_content(f"<!DOCTYPE html><body><div style='width: 600px'>{inline}</div><p>text</p>")
        assert page.evaluate(STATES) == ["running"]
        page.locator(".animation").hover()
        assert page.evaluate(STATES) == ["paused"]
        page.locator("p").hover()
        assert page.evaluate(STATES) == ["running"]
        page.locator(".animation").focus()
        assert page.evaluate(STATES) == ["paused"]
        cycle = 1000 * animation_figure.FRAMES * animation_figure.SECONDS
        for number in (0, 7, animation_figure.FRAMES - 1):
            time = 1000 * animation_figure.SECONDS * (number + 0.5)
            for moment in (time, time + cycle):
                page.evaluate(
                    "(time) => document.getAnimations().forEach((one) => { one.currentTime = time; })", moment
                )
                assert page.evaluate(VISIBLE) == [number]
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(STATES) == []
        assert page.evaluate(VISIBLE) == [animation_figure.STILL]
        browser.close()
