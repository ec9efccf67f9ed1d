from __future__ import annotations

import math
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from papers.gradpie.simulators import ngspice
from papers.gradpie.simulators.ngspice import INSTALL, NgSpice, NgSpiceMissing, SimulationError, available

R, C = 1e3, 1e-9
LOW_PASS = ["low pass", "v1 a 0 dc 2 ac 1", "r1 a b 1k", "c1 b 0 1n", ".ac dec 10 1 10meg", ".end"]
WANTED = ["frequency", "v(b)"]

ENDLESS = ["endless", "v1 a 0 sin(0 1 1g)", "r1 a b 1k", "c1 b 0 1p", ".tran 1p 1", ".end"]
SEGFAULT = ["a function of itself", ".func f(x) {f(x)+1}", "v1 b 0 1", "r1 b 0 {f(1)}", ".ac dec 10 1 10", ".end"]
FATAL = ["unknown parameter", "v1 b 0 1", "r1 b 0 {nobody}", ".ac dec 10 1 10", ".end"]
NO_SOLUTION = ["two voltages at one node", "v1 b 0 1", "v2 b 0 2", ".ac dec 10 1 10", ".end"]
NO_MODEL = ["no model", "v1 b 0 1", "m1 b b 0 0 nobody w=1u l=1u", ".ac dec 10 1 10", ".end"]
NO_ANALYSIS = ["nothing to do", "r1 b 0 1", ".end"]
NO_VECTOR = ["another node", "v1 a 0 1", "r1 a 0 1", ".ac dec 10 1 10", ".end"]
EMPTY = ["empty", ".end"]
# Options that would change any later result, did they outlive their circuit.
OTHER_OPTIONS = ["hot and rough", ".options temp=120 tnom=100 reltol=0.5 scale=1u gmin=1e-3", *LOW_PASS[1:]]

BACKENDS = [
    pytest.param(
        backend,
        marks=pytest.mark.skipif(backend not in available(), reason=f"no ngspice ({backend}): {INSTALL} ngspice"),
    )
    for backend in ("library", "program")
]


@pytest.fixture(params=BACKENDS)
def simulator(request):
    with NgSpice(timeout=20, backend=request.param) as simulator:
        yield simulator


@pytest.fixture
def library():
    if "library" not in available():
        pytest.skip(f"no libngspice: {INSTALL}")
    with NgSpice(timeout=20, backend="library") as simulator:
        yield simulator


def pid(simulator):
    return simulator._worker._process.pid


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def bits(vectors):
    return {
        name: struct.pack(f"{2 * len(z)}d", *(x for c in z for x in (c.real, c.imag))) for name, z in vectors.items()
    }


def test_a_low_pass_has_the_response_of_the_textbook(simulator):
    found = simulator.run(LOW_PASS, WANTED)
    assert list(found) == WANTED
    assert len(found["frequency"]) == 71
    for k, (frequency, response) in enumerate(zip(*found.values(), strict=True)):
        assert math.isclose(frequency.real, 10 ** (k / 10), rel_tol=1e-9)
        assert abs(response - 1 / (1 + 2j * math.pi * frequency.real * R * C)) < 1e-9


def test_an_operating_point_is_one_real_number(simulator):
    assert simulator.run([*LOW_PASS[:-2], ".op", ".end"], ["v(b)"]) == {"v(b)": [2 + 0j]}


@pytest.mark.skipif(len(available()) < 2, reason=f"needs the library and the program: {INSTALL} ngspice")
def test_library_and_program_give_the_same_bits():
    with NgSpice(backend="library") as one, NgSpice(backend="program") as other:
        assert bits(one.run(LOW_PASS, WANTED)) == bits(other.run(LOW_PASS, WANTED))


@pytest.mark.parametrize("circuit", [NO_SOLUTION, NO_MODEL, NO_ANALYSIS, NO_VECTOR, EMPTY, []])
def test_a_failure_is_an_error_and_leaves_no_trace(simulator, circuit):
    before = bits(simulator.run(LOW_PASS, WANTED))
    process = pid(simulator)
    for _ in range(2):
        with pytest.raises(SimulationError, match=r"Error|abort|no result"):
            simulator.run(circuit, ["v(b)"])
    assert bits(simulator.run(LOW_PASS, WANTED)) == before
    assert pid(simulator) == process


def test_what_a_circuit_sets_ends_with_it(simulator):
    before = bits(simulator.run(LOW_PASS, WANTED))
    simulator.run(OTHER_OPTIONS, WANTED)
    assert bits(simulator.run(LOW_PASS, WANTED)) == before


@pytest.mark.parametrize(("circuit", "status"), [(SEGFAULT, -signal.SIGSEGV), (FATAL, 1)])
def test_a_crash_inside_the_library_costs_one_simulation(library, circuit, status):
    before = bits(library.run(LOW_PASS, WANTED))
    process = pid(library)
    with pytest.raises(SimulationError, match=rf"crashed or gave up \(exit status {status}\)"):
        library.run(circuit, WANTED)
    assert bits(library.run(LOW_PASS, WANTED)) == before
    assert pid(library) != process


def test_a_crash_of_the_program_costs_one_simulation(simulator):
    simulator.run(LOW_PASS, WANTED)
    with pytest.raises(SimulationError, match="crashed"):
        simulator.run(SEGFAULT, WANTED)
    assert len(simulator.run(LOW_PASS, WANTED)["v(b)"]) == 71


def test_a_hang_costs_one_simulation_and_its_process_is_gone(simulator):
    before = bits(simulator.run(LOW_PASS, WANTED))
    process = pid(simulator)
    simulator.timeout = 0.5
    start = time.monotonic()
    with pytest.raises(SimulationError, match=r"did not end within 0\.5 s"):
        simulator.run(ENDLESS, ["v(b)"])
    assert 0.5 <= time.monotonic() - start < 5
    assert not alive(process)
    simulator.timeout = 20
    assert bits(simulator.run(LOW_PASS, WANTED)) == before


def test_a_process_killed_between_two_simulations_costs_one(simulator):
    simulator.run(LOW_PASS, WANTED)
    os.kill(pid(simulator), signal.SIGKILL)
    with pytest.raises(SimulationError, match="crashed"):
        simulator.run(LOW_PASS, WANTED)
    assert len(simulator.run(LOW_PASS, WANTED)["v(b)"]) == 71


def test_an_interrupted_question_does_not_leave_its_answer_to_the_next(library, monkeypatch):
    library.run(LOW_PASS, WANTED)

    def interrupted(timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(library._worker, "_connection", Interrupted(library._worker._connection, interrupted))
    with pytest.raises(KeyboardInterrupt):
        library.run([*LOW_PASS[:-2], ".op", ".end"], ["v(b)"])
    assert len(library.run(LOW_PASS, ["v(b)"])["v(b)"]) == 71


class Interrupted:
    def __init__(self, connection, poll):
        self.send, self.close, self.poll = connection.send, connection.close, poll


def test_the_process_starts_late_and_ends_with_close(simulator):
    assert simulator._worker is None
    simulator.close()
    simulator.run(LOW_PASS, WANTED)
    process = pid(simulator)
    assert alive(process)
    simulator.close()
    simulator.close()
    assert not alive(process)
    assert len(simulator.run(LOW_PASS, WANTED)["v(b)"]) == 71


def test_a_simulator_that_is_forgotten_ends_its_process(library):
    forgotten = NgSpice(backend="library")
    forgotten.run(LOW_PASS, WANTED)
    process = pid(forgotten)
    del forgotten
    assert not alive(process)


@pytest.mark.parametrize("circuit", [LOW_PASS, ENDLESS], ids=["idle", "busy"])
def test_the_process_does_not_outlive_a_killed_parent(library, circuit):
    script = (
        f"import sys; sys.path.insert(0, {str(Path(ngspice.__file__).parent)!r}); import ngspice, threading, time\n"
        "s = ngspice.NgSpice(timeout=1, backend='library'); s._started()\n"
        f"threading.Thread(target=s.run, args=({circuit!r}, ['v(b)']), daemon=True).start()\n"
        "time.sleep(0.3); print(s._worker._process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        assert alive(process)
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process)


def test_copies_have_their_own_process(library):
    before = bits(library.run(LOW_PASS, WANTED))
    with pickle.loads(pickle.dumps(library)) as copy:
        assert (copy.timeout, copy.backend, copy._worker) == (20, "library", None)
        assert bits(copy.run(LOW_PASS, WANTED)) == before
        assert pid(copy) != pid(library)


def test_a_fork_does_not_share_its_parents_process(library):
    before = bits(library.run(LOW_PASS, WANTED))
    process = pid(library)
    child = os.fork()
    if child == 0:  # no pytest here: only the exit status counts
        same = bits(library.run(LOW_PASS, WANTED)) == before and pid(library) != process
        library.close()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert bits(library.run(LOW_PASS, WANTED)) == before
    assert pid(library) == process


def test_threads_take_turns(library):
    before, results = bits(library.run(LOW_PASS, WANTED)), []
    threads = [threading.Thread(target=lambda: results.append(bits(library.run(LOW_PASS, WANTED)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [before] * 4


def test_start_up_files_are_not_read(simulator, tmp_path, monkeypatch):
    (tmp_path / ".spiceinit").write_text("set temp=120\nquit\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert len(simulator.run(LOW_PASS, WANTED)["v(b)"]) == 71


@pytest.mark.parametrize("backend", [None, "library", "program"])
def test_without_ngspice_the_error_says_what_to_install(monkeypatch, backend):
    monkeypatch.setattr(ngspice, "_library", lambda: None)
    monkeypatch.setattr(ngspice, "_program", lambda: None)
    assert available() == []
    with pytest.raises(NgSpiceMissing, match=INSTALL):
        NgSpice(backend=backend).run(LOW_PASS, WANTED)


def test_a_library_that_does_not_load_says_so(library, monkeypatch):
    monkeypatch.setattr(ngspice, "_library", lambda: "libnobody.so")
    with NgSpice(backend="library") as broken, pytest.raises(SimulationError, match=r"libnobody\.so|crashed"):
        broken.run(LOW_PASS, WANTED)


@pytest.mark.parametrize("arguments", [{"timeout": 0}, {"timeout": math.inf}, {"backend": "hspice"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        NgSpice(**arguments)
