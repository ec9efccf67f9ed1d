from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch
from smoke_clone import ROOT

from benchmarks import gradpie, refine1d
from benchmarks.runner import RECORD, Benchmark, Measurement, NotMeasured, Skipped, in_turns, main
from papers.gradpie.simulators.ngspice import NgSpiceMissing
from papers.refine1d import find, posterior_weights
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings
from papers.refine1d.posterior_weights import save_posterior


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield
    torch.set_num_threads(threads)


def found(name, *ratios, floor=1.5):
    return Benchmark(name, "slow / fast", floor, lambda: Measurement(ratios, {"slow (s)": 3.0, "fast (s)": 1.5}))


def failing(name, error):
    def measure():
        raise error

    return Benchmark(name, "slow / fast", 1.5, measure)


def test_the_median_decides_and_all_is_printed_and_recorded(capsys):
    benchmarks = [found("above", 1.0, 2.0, 9.0), found("at", 1.5), found("below", 1.0, 1.4, 9.0)]
    assert main(benchmarks, []) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[:5] == ["above", "2.00", "1.00-9.00", "1.50", "pass"]
    assert printed[1].endswith("slow / fast: slow (s) 3, fast (s) 1.5")
    assert [line.split()[4] for line in printed[1:4]] == ["pass", "pass", "MISSED"]
    assert printed[-1] == "below the floor: below"
    record = json.loads(RECORD.read_text())
    assert [entry["result"] for entry in record["benchmarks"]] == ["pass", "pass", "MISSED"]
    assert record["benchmarks"][0]["ratio"] == 2.0
    assert record["benchmarks"][0]["ratios"] == [1.0, 2.0, 9.0]
    assert record["machine"]["threads"] == 1


@pytest.mark.parametrize(
    ("benchmark", "status"),
    [
        (found("x", 1.5), 0),
        (found("x", 1.499), 1),
        (found("x", float("nan")), 1),
        (failing("x", NotMeasured("no dvc")), 1),
        (failing("x", Skipped("no record")), 0),
    ],
)
def test_the_exit_status_tells_whether_a_floor_is_missed(benchmark, status):
    assert main([benchmark], []) == status


def test_without_a_floor_nothing_is_missed(capsys):
    assert main([found("x", 0.1, floor=None)], []) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["x", "0.10", "0.10-0.10", "-", "noted"]
    (entry,) = json.loads(RECORD.read_text())["benchmarks"]
    assert (entry["floor"], entry["result"], entry["figures"]["fast (s)"]) == (None, "noted", 1.5)
    assert main([found("x", 0.1, floor=None)], ["--list"]) == 0


def test_why_nothing_was_measured_is_printed_and_recorded(capsys):
    main([failing("a", NotMeasured("no dvc")), failing("b", Skipped("no record"))], [])
    printed = capsys.readouterr().out
    assert "MISSED   slow / fast: no dvc" in printed
    assert "skipped  slow / fast: no record" in printed
    reasons = [entry["reason"] for entry in json.loads(RECORD.read_text())["benchmarks"]]
    assert reasons == ["no dvc", "no record"]


def test_only_runs_what_it_names():
    benchmarks = [found("good", 2.0), found("bad", 1.0)]
    assert main(benchmarks, ["--only", "good"]) == 0
    assert main(benchmarks, ["--only", "bad", "good"]) == 1
    with pytest.raises(SystemExit, match="2"):
        main(benchmarks, ["--only", "unknown"])


def test_list_measures_nothing(capsys):
    assert main([failing("a", RuntimeError("measured"))], ["--list"]) == 0
    assert capsys.readouterr().out.split() == ["a", "1.50", "slow", "/", "fast"]
    assert not RECORD.exists()


def test_contenders_take_turns_in_both_orders_after_a_first_run():
    calls = []
    seconds = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_surrogates_as_one_batch_are_compared_with_the_same_surrogates_one_by_one(monkeypatch):
    monkeypatch.setitem(gradpie.TASKS, "opamp", (2, 3, 1))
    monkeypatch.setattr(gradpie, "REPETITIONS", 2)
    measurement = gradpie.speedup("opamp")
    batch, alone = measurement.figures.values()
    assert len(measurement.ratios) == 2
    assert min(measurement.ratios) <= alone / batch <= max(measurement.ratios)


def test_the_amplifiers_rate_is_skipped_where_there_is_no_simulator(monkeypatch, capsys):
    class Missing(gradpie.OpAmp):
        def __call__(self, U):
            raise NgSpiceMissing("install it")

    monkeypatch.setattr(gradpie, "OpAmp", Missing)
    assert main(gradpie.BENCHMARKS, ["--only", "amplifier"]) == 0
    assert "skipped  simulations a CPU second / 100: install it" in capsys.readouterr().out


def test_the_amplifiers_rate_counts_the_time_of_the_simulators_process(monkeypatch):
    class Slow(gradpie.OpAmp):
        def __call__(self, U):
            subprocess.run([sys.executable, "-c", "sum(range(3 * 10**6))"], check=True)

    monkeypatch.setattr(gradpie, "OpAmp", Slow)
    monkeypatch.setattr(gradpie, "REPETITIONS", 1)
    measurement = gradpie.simulations()
    (rate,) = measurement.figures.values()
    assert rate < gradpie.SIZINGS / 0.02
    assert measurement.ratios == [rate / 100]


@pytest.fixture
def posterior(tmp_path, monkeypatch):
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    monkeypatch.setattr(find, "NOISE_SHARES", (0.0, math.inf))
    save_posterior(tmp_path / "posterior_general.safetensors", LearnedPosterior(PosteriorSettings((8, 12))))


def test_the_learned_posterior_is_compared_function_by_function(posterior, monkeypatch):
    for name, value in {"ASKED": 8, "FITTED": 2, "REPETITIONS": 1}.items():
        monkeypatch.setattr(refine1d, name, value)
    monkeypatch.chdir(ROOT)  # where the paper's network is
    measurement = refine1d.posteriors()
    gp, *_, learned, _ = measurement.figures.values()
    assert measurement.ratios == [gp / learned]
    assert len(measurement.figures) == 8
    assert min(measurement.figures.values()) > 0
    answers = refine1d.one_answer()
    (milliseconds,) = answers.figures.values()
    assert min(answers.ratios) <= 5 / milliseconds <= max(answers.ratios)


def test_without_weights_the_learned_posterior_misses_its_floors(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(posterior_weights, "WEIGHTS", tmp_path)
    assert main(refine1d.BENCHMARKS, ["--only", "refine1d-posterior", "refine1d-find"]) == 1
    assert capsys.readouterr().out.count("posterior_train general") == 2
