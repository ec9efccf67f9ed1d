"""The committed report as a reader opens it: in chromium, from the disk, without a network."""

from __future__ import annotations

import shutil
import time

import pytest
from playwright.sync_api import sync_playwright
from smoke_clone import ROOT

REPORT = ROOT / "reports/index.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NARROW, WIDE = {"width": 375, "height": 800}, {"width": 1600, "height": 1000}
SECONDS = 60  # the page opens in a second; a machine full of trainings is many times slower

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]

OVERFLOWING = """() => [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, details:not([open])"))
    .map((one) => one.outerHTML.slice(0, 120))"""
CONTRASTS = """(selectors) => {
    const luminance = (colour) => colour.match(/[\\d.]+/g).slice(0, 3)
        .map((one) => one / 255).map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, i) => sum + one * [0.2126, 0.7152, 0.0722][i], 0);
    const page = luminance(getComputedStyle(document.body).backgroundColor);
    return selectors.map((selector) => {
        const ink = luminance(getComputedStyle(document.querySelector(selector)).color);
        return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
    });
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Return a function that opens the report; at the end nothing may have been asked of a network, nor complained."""
    contexts, complaints, requests = [], [], []

    def open_report(viewport=WIDE, scheme="light"):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        start = time.perf_counter()
        page.goto(REPORT.as_uri())
        seconds = time.perf_counter() - start
        print(f"opened in {seconds:.2f} s")
        assert seconds < SECONDS
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {REPORT.as_uri()}


def column(table, number):
    return table.locator(f"tbody tr td:nth-child({number})").all_text_contents()


def test_a_table_is_sorted_by_a_click_and_back_by_another(opened):
    table = opened().locator(".cells").first
    header = table.locator("th", has_text="ours")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    rising = [float(text) for text in column(table, 4) if text]
    assert rising == sorted(rising)
    assert len(set(rising)) > 2
    header.locator("button").click()
    falling = [float(text) for text in column(table, 4) if text]
    assert falling == sorted(rising, reverse=True)


def test_every_table_of_numbers_can_be_sorted(opened):
    page = opened()
    assert page.locator("main table:not(.sortable)").count() == 0
    page.locator(".stages th", has_text="CPU").locator("button").click()
    seconds = [float(text) for text in column(page.locator(".stages"), 5) if text]
    assert seconds == sorted(seconds)


def test_the_filter_leaves_what_fits_and_gives_the_rest_back(opened):
    page = opened()
    rows = page.locator(".cells tbody tr:not([hidden])")
    every = rows.count()
    page.get_by_label("Verdict").select_option("worse")
    worse = rows.count()
    assert 0 < worse < every
    assert {text.split()[-1] for text in rows.locator("td:last-child").all_text_contents()} == {"worse"}
    page.get_by_label("Filter").fill("rastrigin")
    found = rows.count()
    assert 0 < found < worse
    assert all("rastrigin" in text.lower() for text in rows.all_text_contents())
    assert page.locator("output").inner_text().startswith(f"{found} of ")
    page.get_by_label("Filter").fill("no such thing")
    assert page.locator("main > section:visible").count() == 0
    page.get_by_label("Filter").fill("")
    page.get_by_label("Verdict").select_option("all")
    assert rows.count() == every


def test_the_filter_finds_figures_choices_and_commands(opened):
    page = opened()
    page.get_by_label("Filter").fill("python -m papers.gennes.experiments eq9")
    assert page.locator(".stages tbody tr:not([hidden])").count() == 1
    page.get_by_label("Filter").fill("gennes")
    assert page.locator("#figures figure:not([hidden])").count() > 0
    assert page.locator(".choices > div:not([hidden])").count() > 0
    assert not page.locator("#lgo").is_visible()


def test_the_answer_comes_first(opened):
    page = opened()
    papers = page.locator(".overview tbody tr")
    assert papers.count() == page.locator(".paper").count() == 4
    assert page.locator(".overview").bounding_box()["y"] < WIDE["height"] / 2
    for paper in page.locator(".paper").all():
        assert paper.locator("figure").count() == 1
        assert paper.locator(".claim").count() > 0


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_screen_and_can_be_read(opened, viewport, scheme):
    page = opened(viewport, scheme)
    # Every section is laid out once, for those out of sight are not.
    page.add_style_tag(content="section { content-visibility: visible !important; }")
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert page.evaluate(OVERFLOWING) == []
    sizes = "(all) => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    assert min(page.locator("main p, main td, main li, main dd, main code, figcaption").evaluate_all(sizes)) >= 11
    selectors = ["body", "a", ".citation", ".note", ".reproduced", ".better", ".worse", "td.unreported"]
    assert min(page.evaluate(CONTRASTS, selectors)) >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 26)"
    assert dark == (scheme == "dark")


def test_a_wide_table_scrolls_inside_of_a_narrow_page(opened):
    page = opened(NARROW)
    box = page.locator(".scroll:has(.stages)")
    assert box.evaluate("(one) => one.scrollWidth > one.clientWidth")
    box.evaluate("(one) => one.scrollTo(1000, 0)")
    assert box.evaluate("(one) => one.scrollLeft") > 0
    assert page.evaluate("scrollX") == 0
