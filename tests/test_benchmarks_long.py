from __future__ import annotations

import pytest

from benchmarks import cluster, long
from benchmarks.long import Memory


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    monkeypatch.setattr(long.gc, "collect", lambda: 0)  # it takes a moment, and there are many samples of the memory


def grown(monkeypatch, megabytes_a_step, steps=400):
    """Return the measurement of a program whose memory grows so, after a start that takes much at once."""
    memory = Memory(0.0)
    monkeypatch.setattr(long, "_resident_mb", lambda: min(memory.steps, 20) + megabytes_a_step * memory.steps)
    for _ in range(steps):
        memory.step()
    return memory, memory.slope()


def test_memory_that_grows_is_seen_and_what_is_taken_at_the_start_is_not(monkeypatch):
    _, flat = grown(monkeypatch, 0.0)
    assert flat.figures["MB in 1000 steps"] == flat.figures["MB in a day"] == 0
    assert flat.ratios == [long.ALLOWED]
    memory, leaking = grown(monkeypatch, 0.01)
    assert leaking.figures["MB in 1000 steps"] == pytest.approx(10)
    assert leaking.figures["from"] <= 10.001
    assert leaking.figures["to"] >= 9.999
    day = 0.01 * 400 / memory.seconds * 86400
    assert leaking.figures["MB in a day"] == pytest.approx(day, rel=0.2)
    assert leaking.ratios[0] < 1


def test_the_memory_of_runs_and_of_a_training_is_watched(monkeypatch):
    for name, value in {"SECONDS": 1.0, "SAMPLES": 100, "BUDGET": 300, "TRAINING_STEPS": 100}.items():
        monkeypatch.setattr(long, name, value)
    assert long.optimizer_memory("random").figures["steps"] > 3  # more than one run of 300 evaluations
    assert long.training_memory().figures["steps"] == 100


def test_rows_and_evaluations_are_timed(monkeypatch):
    for name, value in {"ROWS": 2 * 10**4, "REPLICATES": 20, "EVALUATIONS": 10**4, "POPULATION": 10**3}.items():
        monkeypatch.setattr(long, name, value)
    assert long.rows().figures["rows"] == 2 * 10**4
    assert long.evaluations().figures["history"] < 50


def test_the_fan_out_is_compared_with_none_at_all(monkeypatch):
    monkeypatch.setattr(cluster, "TASKS", 4)
    monkeypatch.setattr(cluster, "SECONDS", 0.01)
    measurement = cluster.fan_out("loky")
    figures = measurement.figures
    assert figures["ideal (s)"] == 0.02
    assert figures["start (s)"] > 0
    assert measurement.ratios == [0.02 / figures["measured (s)"]]


def test_a_second_dask_worker_does_the_same_sweep(monkeypatch):
    pytest.importorskip("distributed")
    for name, value in {"RUNS": 2, "BUDGET": 20, "REPETITIONS": 1}.items():
        monkeypatch.setattr(cluster, name, value)
    assert list(cluster.second_worker().figures) == ["one worker (s)", "two workers (s)"]
