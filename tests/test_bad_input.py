# ruff: noqa: PT017  an input may as well have a right answer

"""Generated bad input through every public call; that of the commands is in test_bad_commands.py, a thousand in all.

Each is answered by a clear error of a documented type or by a right answer: never by a hang, a wrong answer or a lost
best point. Processor time is what counts as a hang, for the machine may be busy.
"""

from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import optuna
import pytest
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.exceptions.errors import UnsupportedError
from generated_inputs import EXAMPLES, generated
from hypothesis import strategies as st

from common.optimizers import MethodError, ObjectiveError, get_optimizer, methods, minimize
from papers import find_minimum
from papers.gennes.botorch import gen_candidates_gennes
from papers.optuna import GlobOptSampler
from papers.refine1d import find, posterior_weights
from papers.refine1d.find import OutsideTraining
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings
from papers.refine1d.posterior_weights import save_posterior
from papers.refine1d.suggest import suggest

BOX = [[-1.0, -1.0], [1.0, 2.0]]
METHODS = list(methods())
# Settings that make the slow methods quick.
QUICK = {
    "gennes": {"width": 8, "depth": 2}, "gradpie": {"hidden": (8,), "epochs": 1}, "gradpie_plus": {"members": 1},
    "gennes_hop": {"width": 8, "depth": 2}, "gennes_sigma": {"width": 8, "depth": 2},
}  # fmt: skip


def test_there_are_a_thousand_with_those_of_the_commands():
    assert sum(EXAMPLES[__name__].values()) >= 700


@pytest.fixture(autouse=True, scope="module")
def networks(tmp_path_factory):
    """Networks that have learned nothing, in the place of the trained ones; and Optuna is silent."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("general", "formula")):
        save_posterior(folder / f"posterior_{name}.safetensors", LearnedPosterior(PosteriorSettings((8, 12)), seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posterior_weights, "WEIGHTS", folder)
        posterior_weights._load.cache_clear()
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        yield
    optuna.logging.set_verbosity(optuna.logging.INFO)
    posterior_weights._load.cache_clear()


NOT_NUMBERS = ["", "x", "os.system", b"x", None, [], {}, {"a": 1}, object(), print, 1j, Ellipsis]
NOT_POSITIVE = [0, -1, -2.5, -math.inf]
NOT_WHOLE = [2.5, math.inf, math.nan, 1e-300]


# --- minimize ---

BAD_ARGUMENTS = {
    "fun": [value for value in NOT_NUMBERS if not callable(value)],
    "bounds": [
        *(value for value in NOT_NUMBERS if value != 1j), 3, math.nan, "01", [1, 2, 3], [[0, 0]], [[0, 1], [1, 0]],
        [[0, 0], [0, 0]], [[1, 1], [0, 0]], [[0, math.nan], [1, 1]], [[0, 0], [math.inf, 1]], [[-math.inf] * 2, [1, 1]],
        [[0, 0], [1]], [["a", "b"], ["c", "d"]], np.zeros((2, 2, 2)), np.zeros((2, 0)), torch.zeros(3, 4),
        torch.full((2, 2), math.nan), [[None, 0], [1, 1]], [[0, 0], [1, 1], [2, 2]], (0, 1), [(0, 1), (0, 1), (0, 1)],
    ],
    "budget": [*NOT_NUMBERS, *NOT_POSITIVE, *NOT_WHOLE, True, "20", np.array([3]), torch.tensor(5)],
    "rng": [value for value in NOT_NUMBERS if value is not None] + [2.5, math.nan, True, np.array([1, 2])],
    "target": [value for value in NOT_NUMBERS if value is not None] + [math.nan, "1", torch.zeros(2)],
    "callback": [value for value in NOT_NUMBERS if value is not None and not callable(value)] + [0, False, 1],
    "jac": [value for value in NOT_NUMBERS if value is not None and not callable(value)] + [0, 1],
    "method": [*(value for value in NOT_NUMBERS), "adam", "LBFGS", " lbfgs", "lbfgs ", "../lbfgs", 3, get_optimizer],
    "dim": [0, -1, -2.5, True, 3, 1],
    "gradient_cost": [0, -1, 2.5, 0.5],
}  # fmt: skip


@generated(170, data=st.data(), method=st.sampled_from(METHODS))
def test_a_bad_argument_is_named_before_the_first_query(data, method):
    name = data.draw(st.sampled_from(list(BAD_ARGUMENTS)))
    value = data.draw(st.sampled_from(BAD_ARGUMENTS[name]))
    called = []

    def fun(X):
        called.append(len(X))
        return (X**2).sum(1)

    arguments = {"fun": fun, "bounds": BOX, "method": method, "budget": 20, "rng": 0, **QUICK.get(method, {})}
    if name == "method":
        arguments = {key: arguments[key] for key in ("fun", "bounds", "budget", "rng")}
    with pytest.raises((ValueError, TypeError), match=r"bound|variable" if name == "bounds" else name):
        minimize(**{**arguments, name: value})
    assert called == []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bounds", {"bounds": np.full((2, 2), 1j)}),
        ("bounds", {"bounds": [[-1e308, -1e308], [1e308, 1e308]]}),
        ("bounds", {"bounds": [[-(10**400)], [1]]}),
        ("dim", {"bounds": (-1, 1), "dim": 2.5}),
        ("budget", {"budget": np.complex128(20)}),
        ("gradient_cost", {"gradient_cost": math.inf}),
        ("scalarize", {"scalarize": 3}),
    ],
)
def test_an_argument_that_only_seems_right_is_refused(name, arguments):
    with pytest.raises((ValueError, TypeError), match=f"{name} must be"):
        minimize(**{"fun": lambda X: (X**2).sum(1), "bounds": BOX, "method": "random", "budget": 20, **arguments})


def test_complex_values_are_refused():
    with pytest.raises(ObjectiveError, match="real numbers"):
        minimize(lambda X: X.sum(1) * 1j, BOX, "random", 20, 0)


BAD_SETTINGS = [
    None, True, False, 0, -1, 2.5, math.inf, -math.inf, math.nan, 10**12, 10**400, 1e-300, 1e300, 1j, "x", "", b"x", [],
    [1], [-1.5], (0,), {}, {"a": 2}, {"maxiter": -1}, {"popsize": "x"}, object(),
]  # fmt: skip


def parameters():
    return [(method, name) for method in METHODS for name in inspect.signature(get_optimizer(method)).parameters]


class Seen:
    """A function that remembers what it was asked and has answered; from point ``fails_at`` on it answers badly."""

    def __init__(self, fails_at=math.inf, answer=None):
        self.points, self.values = [], []
        self.fails_at, self.answer = fails_at, answer

    def __call__(self, X):
        y = ((X - 0.3) ** 2).sum(1) + 1.0
        if len(self.points) + len(X) > self.fails_at:
            y = self.answer(y)  # raises, or returns what is no list of values
        answered = y.detach().tolist() if isinstance(y, torch.Tensor) and y.shape == X.shape[:1] else []
        kept = [i for i, value in enumerate(answered) if math.isfinite(value)]
        self.points += [X[i].tolist() for i in kept]
        self.values += [answered[i] for i in kept]
        return y

    def check(self, result, budget):
        """Assert that a result is the best of all that was answered."""
        assert result.nfev <= budget
        if not self.values:
            assert (result.x, result.fun) == (None, math.inf)
            return
        best = int(np.argmin(self.values))
        assert result.fun == self.values[best]
        assert result.x.tolist() in [x for x, y in zip(self.points, self.values, strict=True) if y == result.fun]
        assert ((result.x >= BOX[0]) & (result.x <= BOX[1])).all()


@generated(170, parameter=st.sampled_from(parameters()), value=st.sampled_from(BAD_SETTINGS))
def test_a_bad_setting_is_refused_or_costs_nothing_that_was_found(parameter, value):
    (method, name), seen = parameter, Seen()
    try:
        result = minimize(seen, BOX, method, 20, 0, **{**QUICK.get(method, {}), name: value})
    except MethodError as error:
        assert repr(method) in str(error)
        assert seen.values
        seen.check(error.result, 20)
    except ObjectiveError as error:  # scalarize=, which speaks of the function
        assert name == "scalarize"
        assert error.result.x is None
    except (ValueError, TypeError) as error:
        assert seen.values == []
        assert name in str(error)
    else:
        assert seen.values
        seen.check(result, 20)


def raising(error):
    def answer(y):
        raise error

    return answer


def with_one(value):
    def answer(y):
        y = y.clone()
        with torch.no_grad():
            y[-1] = value
        return y

    return answer


BAD_ANSWERS = {
    **{
        type(error).__name__: raising(error)
        for error in (
            ValueError("boom"), KeyError(), ZeroDivisionError(), StopIteration(), AssertionError(), RecursionError(),
            MemoryError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), Exception("{}%s\n\x00"), OSError(5, "io"),
        )
    },
    "nan": with_one(math.nan), "inf": with_one(math.inf), "-inf": with_one(-math.inf),
    "shape n x 1": lambda y: y[:, None], "shape n + 1": lambda y: torch.cat([y, y[:1]]), "empty": lambda y: y[:0],
    "shape 1 x n x 1": lambda y: y[None, :, None], "text": lambda y: "no number", "object": lambda y: object(),
    "dict": lambda y: {"y": y}, "ragged": lambda y: [[1.0], [1.0, 2.0]], "function": lambda y: print,
}  # fmt: skip


@generated(
    220,
    method=st.sampled_from(METHODS),
    kind=st.sampled_from(list(BAD_ANSWERS)),
    fails_at=st.integers(0, 60),
    seed=st.integers(0, 3),
)
def test_a_function_that_fails_loses_nothing(method, kind, fails_at, seed):
    seen = Seen(fails_at, BAD_ANSWERS[kind])
    try:
        result = minimize(seen, BOX, method, 50, seed, **QUICK.get(method, {}))
    except ObjectiveError as error:
        assert re_any(("objective", "gradient"), str(error))
        assert error.result.status == -1
        assert not error.result.success
        result = error.result
    else:
        assert result.success
        assert len(seen.points) <= 50
    seen.check(result, 50)


def re_any(words, text):
    return any(word in text for word in words)


ANSWERS = {
    "float32": lambda y: y.float(), "float16": lambda y: y.half(), "list": lambda y: y.tolist(), 
    "tuple": lambda y: tuple(y.tolist()),
    "numpy": lambda y: y.detach().numpy(), "objects": lambda y: np.array(y.tolist(), dtype=object),
    "integers": lambda y: (100 * y).long(), "bytes": lambda y: (10 * y).to(torch.uint8), "bools": lambda y: y > 1.5,
    "strided": lambda y: torch.stack([y, y], 1)[:, 0], "huge": lambda y: y * 1e30, "tiny": lambda y: y * 1e-30,
}  # fmt: skip
VALUES_ONLY = [name for name, method in methods().items() if not method.needs_gradient and name != "auto"]


@generated(40, method=st.sampled_from(VALUES_ONLY), kind=st.sampled_from(list(ANSWERS)))
def test_values_of_any_type_of_number_will_do(method, kind):
    answered = []

    def fun(X):
        y = ANSWERS[kind](((X - 0.3) ** 2).sum(1) + 1.0)
        answered.extend(float(v.detach() if isinstance(v, torch.Tensor) else v) for v in y)
        return y

    result = minimize(fun, BOX, method, 40, 0, **QUICK.get(method, {}))
    assert result.nfev == len(answered) == 40
    assert result.fun == min(answered)


@generated(
    60,
    method=st.sampled_from([name for name, method in methods().items() if method.ask_tell]),
    what=st.sampled_from(["X", "y", "grad"]),
    how=st.sampled_from(["shifted", "cut", "longer", "nan", "inf", "flat", "empty"]),
    seed=st.integers(0, 2),
)
def test_tell_refuses_what_is_no_answer_and_goes_on(method, what, how, seed):
    run = get_optimizer(method)(**QUICK.get(method, {})).start(BOX, budget=100, rng=seed)
    X = run.ask()
    told = {"X": X.clone(), "y": (X**2).sum(1), "grad": 2 * X}
    change = {
        "shifted": lambda t: t + 1e-9 if what == "X" else torch.full_like(t, math.nan), "cut": lambda t: t[1:],
        "longer": lambda t: torch.cat([t, t[:1]]), "nan": lambda t: t * math.nan, "inf": lambda t: t + math.inf,
        "flat": lambda t: t.reshape(-1, 1, 1), "empty": lambda t: t[:0],
    }[how]  # fmt: skip
    with pytest.raises(ValueError, match=r"last ask|shape|finite"):
        run.tell(**{**told, what: change(told[what])})
    assert run.ask() is X
    run.tell(**told)
    assert run.told == len(X)


# --- samples of one variable ---

numbers = st.one_of(
    st.floats(-1e150, 1e150), st.integers(-3, 3), st.sampled_from([math.nan, math.inf, -math.inf, 5e-324, 0.0])
)
samples = st.one_of(
    st.lists(numbers, max_size=12),
    st.lists(st.floats(-5, 5), min_size=5, max_size=9),
    st.sampled_from([None, "", "12345", 3, b"12345", {}, object(), [None] * 6, ["a"] * 6, [[1.0, 2.0]] * 6, [1j] * 6]),
    st.builds(np.asarray, st.lists(st.floats(-5, 5, width=32), min_size=5, max_size=9)),
)
pairs = st.one_of(
    st.none(),
    st.tuples(numbers, numbers),
    st.just((-1e3, 1e3)),
    st.sampled_from([(), (1,), (1, 2, 3), 3, "ab", (None, 1)]),
)


@generated(
    150,
    x=samples,
    y=samples,
    data=st.data(),
    options=st.fixed_dictionaries(
        {},
        optional={
            "bounds": pairs,
            "window": pairs,
            "maximize": st.booleans(),
            "level": st.one_of(st.floats(0.01, 0.99), st.sampled_from([0, 1, -1, 2.5, math.nan, math.inf])),
            "answer": st.sampled_from([*find.ANSWERS, "best", "", None]),
            "model": st.sampled_from(["general", "formula", "../general", "", None]),
        },
    ),
)
def test_samples_have_an_answer_inside_of_the_bounds_or_are_refused(x, y, data, options):
    if isinstance(x, list) and data.draw(st.booleans()):  # as many y as x, or hardly any get past the first check
        y = data.draw(st.lists(st.floats(-9, 9), min_size=len(x), max_size=len(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideTraining)
        with np.errstate(all="ignore"):
            try:
                found = find_minimum(x, y, **options)
            except ValueError as error:
                assert len(str(error)) > 10
                return
    low, high = options.get("bounds") or (float(np.min(x)), float(np.max(x)))
    low, high = options.get("window") or (low, high)
    slack = 1e-9 * (high - low)
    assert low - slack <= found.interval[0] <= found.interval[1] <= high + slack
    assert low - slack <= found.position <= high + slack
    assert found.probability.sum() == pytest.approx(1)
    assert np.isfinite([found.value, found.noise]).all()


@generated(40, x=samples, y=samples, bounds=pairs, maximize=st.booleans())
def test_a_suggestion_is_inside_of_the_bounds_or_the_samples_are_refused(x, y, bounds, maximize):
    with np.errstate(all="ignore"):
        try:
            place = suggest(x, y, bounds=bounds, maximize=maximize)
        except ValueError as error:
            assert len(str(error)) > 10
            return
    low, high = bounds or (float(np.min(x)), float(np.max(x)))
    assert low <= place <= high


# --- Optuna and BoTorch ---


@generated(
    50,
    method=st.sampled_from(["random", "bipop", "cmaes", "snes", "cbo", "lbfgs", "", "..", None, 3, object()]),
    seed=st.sampled_from([0, 1, None, "x", 2.5, True]),
    options=st.sampled_from([{}, {"population": 4}, {"population": 0}, {"sigma": -1}, {"bogus": 1}]),
    answer=st.sampled_from(["value", "nan", "inf", "-inf", "none", "text", "raises", "pruned"]),
    every=st.integers(1, 4),
)
def test_a_study_finishes_whatever_its_trials_do(method, seed, options, answer, every):
    try:
        sampler = GlobOptSampler(method, seed=seed, **options)
    except (ValueError, TypeError) as error:
        assert len(str(error)) > 5
        return
    assert method in VALUES_ONLY
    values = []

    def objective(trial):
        x, n = trial.suggest_float("x", -1, 1), trial.suggest_int("n", 1, 3)
        kind = trial.suggest_categorical("kind", ["a", "b"])
        if trial.number % every == 0:
            if answer == "raises":
                raise KeyError("boom")
            if answer == "pruned":
                raise optuna.TrialPruned
            if answer != "value":
                return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "none": None, "text": "x"}[answer]
        values.append(x**2 + n + (kind == "a"))
        return values[-1]

    study = optuna.create_study(sampler=sampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            study.optimize(objective, n_trials=12, catch=(KeyError,))
        except ValueError as error:  # some methods look at their settings when they know the number of variables
            assert any(name in str(error) for name in options)
            return
    assert len(study.trials) == 12
    finite = [trial.value for trial in study.trials if trial.value is not None and math.isfinite(trial.value)]
    assert sorted(finite) == sorted(values)


class Acquisition(AcquisitionFunction):
    """A bowl upside down; where ``value`` is a number, that is its value far from the middle."""

    def __init__(self, value):
        super().__init__(model=None)
        self.value = value

    def forward(self, X):
        y = -((X - 0.5) ** 2).sum((1, 2))
        return y if self.value is None else torch.where(y < -1.0, self.value * torch.ones_like(y), y)


@generated(
    50,
    start=st.lists(st.sampled_from([0.0, 0.4, 1.0, 3.0, -math.inf, math.nan, 1e308]), min_size=4, max_size=4),
    bounds=st.sampled_from(
        [(0.0, 1.0), (0.0, 1.0), (-2.0, 2.0), (1.0, 0.0), (0.0, 0.0), (None, 1.0), (0.0, None), (-math.inf, 1.0),
         (0.0, math.nan), ("a", "b"), (torch.zeros(3), torch.ones(3)), (torch.zeros(2), torch.ones(2)), ([0.0], 1.0)]
    ),
    options=st.sampled_from(
        [{}, {}, {}, {"iterations": 0}, {"iterations": -1}, {"iterations": "x"}, {"population": 0}, {"lr": -1},
         {"bogus": 1}, {"annealing": 2}, {"annealing": None}]
    ),
    value=st.sampled_from([None, None, math.nan, math.inf, -math.inf]),
    constraint=st.sampled_from([None, None, None, [(torch.tensor([0]), torch.tensor([1.0]), 1.0)]]),
)  # fmt: skip
def test_candidates_are_in_the_box_and_no_worse_than_the_start(start, bounds, options, value, constraint):
    starts = torch.tensor(start, dtype=torch.float64).view(2, 1, 2)
    acquisition = Acquisition(value)
    small = {"population": 3, "iterations": 3, "width": 8, "depth": 2, **options}
    try:
        X, y = gen_candidates_gennes(
            starts, acquisition, bounds[0], bounds[1], small, inequality_constraints=constraint
        )
    except UnsupportedError as error:
        assert "inequality_constraints" in str(error)
        assert constraint is not None
        return
    except (ValueError, TypeError) as error:
        assert len(str(error)) > 10
        return
    low, high = (torch.as_tensor(end, dtype=torch.float64).expand(2) for end in bounds)
    assert torch.equal(X, X.clamp(low, high))
    torch.testing.assert_close(acquisition(X), y, equal_nan=False)
    assert (y >= acquisition(starts.clamp(low, high)).nan_to_num(nan=-math.inf)).all()
