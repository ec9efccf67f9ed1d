"""Reading a claims file key by key: every value has its type, every unknown key is refused with its place."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from common.reporting.rows import INTEGER_COLUMNS, KEY_COLUMNS

SELECTABLE = tuple(column for column in KEY_COLUMNS if column != "replicate")


class ClaimsError(ValueError):
    """A claims file breaks the format; the message names the file, the entry and the key."""


class UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence; a claim must not vanish that way."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


class Entry:
    """One mapping of the file: hands out its keys by type, and refuses those that nobody asked for."""

    def __init__(self, content: object, place: str) -> None:
        self.place = place
        if not isinstance(content, dict):
            raise ClaimsError(f"{place}: expected keys with values, got {content!r}")
        self.content = {str(key): value for key, value in content.items()}
        self.used: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        raise ClaimsError(f"{self.place}: key '{key}' {problem}")

    def get(self, key: str, default: Any = ...) -> Any:
        self.used.add(key)
        value = self.content.get(key, default)
        if value is ...:
            self.fail(key, "is missing")
        return value

    def close(self) -> None:
        for key in self.content:
            if key not in self.used:
                self.fail(key, f"is unknown; known are {', '.join(sorted(self.used))}")

    def text(self, key: str, default: Any = ...) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            self.fail(key, f"must be text, got {value!r}")
        return " ".join(value.split())

    def name(self, key: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", value):
            self.fail(key, f"must be letters, digits, '-', '_' and '.', as it names a file, got {value!r}")
        return value

    def number(self, key: str, default: Any = ...) -> float | None:
        return self.as_number(key, self.get(key, default))

    def as_number(self, key: str, value: Any) -> float | None:
        # YAML 1.1 reads `1e-3` (no dot) as text.
        if value is None:
            return None
        try:
            if isinstance(value, bool):
                raise TypeError
            return float(value)
        except (TypeError, ValueError, OverflowError):
            self.fail(key, f"must be a number, got {value!r}")

    def required_number(self, key: str, default: Any = ...) -> float:
        value = self.number(key, default)
        if value is None:
            self.fail(key, "must be a number")
        return value

    def share(self, key: str, default: float) -> float:
        value = self.required_number(key, default)
        if not 0 <= value <= 1:
            self.fail(key, f"must be a share between 0 and 1, got {value!r}")
        return value

    def flag(self, key: str, default: Any = ...) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, got {value!r}")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: Any = ...) -> str:
        value = self.get(key, default)
        if value not in allowed:
            self.fail(key, f"must be one of {', '.join(allowed)}, got {value!r}")
        return value

    def results(self) -> tuple[str, ...]:
        value = self.get("results")
        if not isinstance(value, list) or not value or not all(isinstance(path, str) for path in value):
            self.fail("results", f"must be a list of CSV files, got {value!r}")
        return tuple(value)

    def selection(self, key: str, default: Any = ...) -> dict[str, Any]:
        """Return column -> value, lists as tuples, integers where the column has integers."""
        entry = Entry(self.get(key, default), f"{self.place}, {key}")
        chosen: dict[str, Any] = {}
        for column, value in entry.content.items():
            if column not in SELECTABLE:
                entry.fail(column, f"is not a column to select by; these are {', '.join(SELECTABLE)}")
            values = tuple(entry.cell(column, one) for one in (value if isinstance(value, list) else [value]))
            if not values:
                entry.fail(column, "is an empty list")
            chosen[column] = values if isinstance(value, list) else values[0]
        return chosen

    def cells(self, key: str, default: Any = ...) -> tuple[Any, ...]:
        """Return a list of different values: integers where ``key`` is a column of integers, else texts."""
        values = self.get(key, default)
        if not isinstance(values, list):
            self.fail(key, f"must be a list, got {values!r}")
        chosen = tuple(self.cell(key, value) for value in values)
        if len(set(chosen)) < len(chosen):
            self.fail(key, f"has a value twice: {values!r}")
        return chosen

    def cell(self, column: str, value: Any) -> object:
        if column not in INTEGER_COLUMNS:
            if not isinstance(value, str):
                self.fail(column, f"must be text, got {value!r}")
            return value
        number = self.as_number(column, value)
        if number is None or number % 1 != 0:  # that of an infinity is nan
            self.fail(column, f"must be an integer, got {value!r}")
        return int(number)

    def named(self, key: str) -> list[tuple[str, Entry]]:
        """Return the mappings below ``key``, by their names."""
        parent = Entry(self.get(key, {}), f"{self.place}, {key}")
        return [
            (parent.name(name, name), Entry(value, f"{parent.place}, {name}")) for name, value in parent.content.items()
        ]

    def entries(self, key: str, default: Any = ()) -> list[Entry]:
        """Return the mappings in the list below ``key``; an entry is named by its own id, row label or topic."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple):
            self.fail(key, f"must be a list, got {value!r}")
        entries = []
        for number, content in enumerate(value, start=1):
            names = content if isinstance(content, dict) else {}
            name = names.get("id") or names.get("row") or names.get("topic") or f"number {number}"
            entries.append(Entry(content, f"{self.place}, {key}, {name}"))
        return entries
