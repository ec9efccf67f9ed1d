"""The experiments on the optical system: what they measure, with masks small enough for a test."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from common.reporting.rows import read_rows, select_rows, write_rows
from common.training.keys import torch_generator
from papers.gradpie import optics_figures
from papers.gradpie.experiments import owms_online, owms_peers
from papers.gradpie.experiments.bayopt import bayes_opt
from papers.gradpie.experiments.peers import one_plus_one, random_search, separable_cmaes, spsa
from papers.gradpie.experiments.wavefronts import QUARTILES, first_queries, start_seeds, uniform_phases
from papers.gradpie.model import TABLE_3
from papers.gradpie.simulators.optics import BeamShaper

PARAMS = yaml.safe_load((Path(optics_figures.__file__).parent / "params.yaml").read_text())
SYSTEM = {**PARAMS["owms_online"]["system"], "pixels": 6, "spacing": 1e-4}
SMALL = {"replicates": 2, "system": SYSTEM, "iterations": 6, "levels": 2, "queries": [20, 30, 50], "compared": [2, 6]}
ONLINE = {**PARAMS["owms_online"], **SMALL, "bayopt_replicates": 1}
ONLINE["learning"] = {**ONLINE["learning"], "hidden": [8, 4]}
PEERS = {**PARAMS["owms_peers"], **SMALL}
SEARCHES = {
    "random": random_search,
    "spsa": lambda *args: spsa(*args, radius=0.1, step_size=0.1),
    "(1+1)-es": lambda *args: one_plus_one(*args, sigma=0.3),
    "separable cmaes": lambda *args: separable_cmaes(*args, sigma=0.3, population=6),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The rows of both experiments, as the report reads them."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOBOPT_WORKERS", "1")
        for experiment, params in ((owms_online, ONLINE), (owms_peers, PEERS)):
            path = folder / f"{experiment.__name__.rpartition('.')[2]}.csv"
            write_rows(path, experiment.run(params, folder / path.stem))
    return {path.stem: read_rows(path) for path in folder.glob("*.csv")}


def values(rows, **key):
    """Return the values of a method's curve by replicate and evaluations."""
    return select_rows(rows, key).set_index(["replicate", "evaluations"])["value"].sort_index()


def bowl(x):
    return (x - 1).square().sum(-1)


def starts(count=2, dim=5):
    return torch.cat([uniform_phases(start, 1, dim) for start in start_seeds(0, range(count))])


# --- searches ---


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("queries", [1, 7, 24])
def test_a_search_makes_its_queries_and_no_more(search, queries):
    points = []

    def counted(x):
        points.append(x.reshape(-1, 5))
        return bowl(x)

    losses = SEARCHES[search](counted, starts(), [3, 4], queries)
    assert losses.shape == (queries, 2)
    assert sum(map(len, points)) == 2 * queries
    assert sorted(bowl(torch.cat(points)).tolist()) == sorted(losses.flatten().tolist())


@pytest.mark.parametrize("search", SEARCHES)
def test_a_start_alone_is_what_it_is_among_others(search):
    together = SEARCHES[search](bowl, starts(), [3, 4], 25)
    alone = SEARCHES[search](bowl, starts()[1:], [4], 25)
    torch.testing.assert_close(together[:, 1:], alone)


@pytest.mark.parametrize("search", ["spsa", "(1+1)-es", "separable cmaes"])
def test_a_search_finds_the_bottom_of_a_bowl(search):
    losses = SEARCHES[search](bowl, starts(), [3, 4], 1200)
    assert (losses[-50:].amin(0) < (5e-2 if search == "spsa" else 1e-3)).all()  # spsa looks from 0.1 away only


def test_spsa_is_adam_on_the_projected_gradient():
    x = starts(1).clone()
    losses = spsa(bowl, x, [3], 4, radius=0.1, step_size=0.2)
    signs = 2 * torch.randint(2, (5,), generator=torch_generator(3, "spsa", 0)) - 1
    slope = 2 * ((x[0] - 1) * signs).sum()
    assert (losses[0] - losses[1]).item() == pytest.approx(0.2 * slope.item())
    moved = x[0] - 0.2 * (slope * signs).sign()  # Adam's first step
    second = 2 * torch.randint(2, (5,), generator=torch_generator(3, "spsa", 1)) - 1
    assert losses[2].item() == pytest.approx(bowl(moved + 0.1 * second).item(), rel=1e-5)


@pytest.mark.parametrize("periodic", [False, True])
def test_bayopt_beats_random_phases_and_leaves_the_generator_alone(periodic):
    def function(x):
        return (1 - (x - 2).cos()).sum(-1)

    initial = uniform_phases(5, 6, 3)
    state = torch.get_rng_state()
    x, losses = bayes_opt(function, initial, 5, 10, periodic, spread=0.5, refit=5, maxiter=20)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x[:6], initial)
    torch.testing.assert_close(losses, function(x))
    assert losses.min() < 0.5 * function(uniform_phases(6, 16, 3)).min()
    assert periodic or ((x >= 0) & (x <= 2 * math.pi)).all()


# --- starts ---


def test_first_queries_begin_where_the_searches_do():
    for count in (1, 4):
        points = first_queries(9, count, 0.3, 7)
        assert torch.equal(points[:1], uniform_phases(9, 1, 7))
    torch.testing.assert_close((points[1:] - points[:1]).std().item(), 0.3, rtol=0.5, atol=0)
    assert torch.equal(uniform_phases(9, 3, 7)[:1], points[:1])


def test_both_experiments_have_the_same_starts_and_as_many_queries():
    online, peers = PARAMS["owms_online"], PARAMS["owms_peers"]
    for setting in (
        "seed",
        "replicates",
        "system",
        "iterations",
        "initial",
        "spread",
        "moves",
        "queries",
        "levels",
        "compared",
    ):
        assert online[setting] == peers[setting]
    assert peers["window"] == online["learning"]["window"]
    total = online["initial"] + online["iterations"] * (1 + online["moves"]["local_samples"])
    assert online["queries"][-1] == total
    assert {name: tuple(online["learning"]["hidden"]) if name == "hidden" else online["learning"][name]
            for name in TABLE_3["owms"]} == TABLE_3["owms"]  # fmt: skip


# --- the experiments ---


def test_the_exact_gradients_row_is_adam_through_the_simulator(results):
    shaper = BeamShaper(**SYSTEM)
    x = torch.cat([uniform_phases(s, 1, 36) for s in start_seeds(ONLINE["seed"], range(2))]).requires_grad_()
    adam = torch.optim.Adam([x], ONLINE["moves"]["step_size"])
    for _ in range(6):
        adam.zero_grad()
        shaper(x).sum().backward()
        adam.step()
    found = values(results["owms_online"], method="exact", experiment="iterations", metric="loss")
    assert found.xs(6, level="evaluations").tolist() == pytest.approx(shaper(x).tolist(), abs=1e-5)


def test_all_descents_begin_at_the_same_losses_and_all_methods_have_the_same_queries(results):
    rows = pd.concat([results["owms_online"], results["owms_peers"]])
    moving = [*ONLINE["surrogates"], "exact", "linear fit", "fixed direction", "fixed direction boxed"]
    begin = select_rows(rows, {"experiment": "iterations", "evaluations": 0, "method": tuple(moving)})
    assert set(begin["method"]) == {*moving}
    assert (begin.groupby("replicate")["value"].nunique() == 1).all()
    best = select_rows(rows, {"experiment": "queries", "metric": "best"})
    for method, block in best.groupby("method"):
        reached = [20] if method.startswith("bayopt") else [20, 30, 50]
        assert sorted(block["evaluations"].unique()) == reached
        assert (block.sort_values("evaluations").groupby("replicate")["value"].diff().dropna() <= 0).all()


def test_controls_know_nothing_but_what_their_rule_gives_away(results):
    rows = results["owms_peers"]
    flat = values(rows, method="flat phase", experiment="queries", metric="best")
    assert flat.nunique() == 1
    assert flat.iloc[0] == pytest.approx(BeamShaper(**SYSTEM)(torch.zeros(36, dtype=torch.float64)).item(), abs=1e-6)
    path = values(rows, method="fixed direction elitist", experiment="iterations", metric="loss")
    assert (path.groupby("replicate").diff().dropna() <= 0).all()


def test_the_pattern_is_the_mask_of_the_last_iteration(results):
    rows = results["owms_online"]
    phase = torch.tensor(select_rows(rows, {"experiment": "pattern"}).sort_values("evaluations")["value"].tolist())
    last = values(rows, method="gradpie", experiment="iterations", metric="loss")[0, 6]
    assert BeamShaper(**SYSTEM)(phase.double()).item() == pytest.approx(last, abs=1e-3)


def test_table_2_by_hand():
    curves = {"base": [9, 8, 8, 7, 6], "gradpie": [9, 7, 5, 5, 5], "slow": [9, 9, 9, 9, 9], "bayopt": [9, 9, 5, 5, 4]}
    table = pd.DataFrame(
        {"d": 4, "replicate": 0, "method": method, "evaluations": t, "value": value}
        for method, curve in curves.items()
        for t, value in enumerate(curve)
    )
    settings = {"iterations": 4, "initial": 10, "moves": {"local_samples": 1}, "bayopt": {"bayopt": {}}}
    rows = owms_online.comparison_rows(table, settings)
    found = {(row["method"], row["metric"]): row["value"] for row in rows}
    expected = {
        ("gradpie", "reduction"): 0.5, ("gradpie", "queries"): 14, ("gradpie", "reduction_bayopt"): -1,
        ("slow", "reduction"): 0, ("slow", "queries"): 18, ("slow", "reduction_bayopt"): -1,
        ("bayopt", "reduction"): 0.75, ("bayopt", "queries"): 12, ("bayopt", "reduction_bayopt"): 0,
        ("base", "reduction"): 0, ("base", "queries"): 18, ("base", "reduction_bayopt"): -1,
    }  # fmt: skip
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("experiment", "method"), [("owms_online", "base"), ("owms_peers", "random")])
def test_quartiles_are_those_over_starts(results, experiment, method):
    rows = results[experiment]
    of_starts = values(rows, method=method, experiment="iterations", metric="loss").xs(6, level="evaluations")
    for metric, q in QUARTILES.items():
        found = values(rows, method=method, experiment="quartiles", metric=metric)[0, 6]
        assert found == pytest.approx(of_starts.quantile(q), abs=1e-6)


def test_figures_are_drawn_from_the_rows(results):
    online, peers = results["owms_online"], results["owms_peers"]
    fields = optics_figures.figure4a(online, SYSTEM)
    assert len([axis for axis in fields.axes if axis.images]) == 5
    curves = optics_figures.figure4bc(online, peers)
    assert [len(axis.lines) for axis in curves.axes] == [len(optics_figures.PAPERS)] * 2
    against_queries = optics_figures.figure4_queries(online, peers)
    assert set(against_queries.axes[0].get_legend_handles_labels()[1]) == set(optics_figures.OURS.values())
