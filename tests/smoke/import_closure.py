"""Which of the project's files a module imports, directly or not, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from functools import cache

from smoke_clone import ROOT


def import_closure(module: str, without: Collection[str] = ()) -> set[str]:
    """Return the files that ``module`` imports, itself included, but neither those in ``without`` nor through them.

    A name that a package hands on counts as imported from the file that defines it, and all of them where the package
    itself is imported; ``__init__`` files do not count.
    """
    found: set[str] = set()
    todo = {module}
    while todo:
        file = source(todo.pop())
        if file is not None and file not in found and file not in without:
            found.add(file)
            todo |= _imported(file)
    return {file for file in found if not file.endswith("__init__.py")}


def source(module: str) -> str | None:
    """Return a module's file relative to the root, None where it is no module of this project."""
    base = module.replace(".", "/")
    return next((name for name in (f"{base}.py", f"{base}/__init__.py") if (ROOT / name).is_file()), None)


@cache
def _imported(file: str) -> frozenset[str]:
    modules = set()
    for statement in _imports(ast.parse((ROOT / file).read_text()), for_types=file.endswith("__init__.py")):
        if isinstance(statement, ast.Import):
            modules |= {alias.name for alias in statement.names}
        else:
            modules |= {_defining_module(statement.module or "", alias.name) for alias in statement.names}
    return frozenset(modules)


def _defining_module(module: str, name: str) -> str:
    if source(f"{module}.{name}"):
        return f"{module}.{name}"
    file = source(module)
    if file is not None and file.endswith("__init__.py"):
        for statement in _imports(ast.parse((ROOT / file).read_text()), for_types=True):
            if isinstance(statement, ast.ImportFrom) and name in {
                alias.asname or alias.name for alias in statement.names
            }:
                return _defining_module(statement.module or "", name)
    return module


def _imports(tree: ast.AST, for_types: bool = False) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements, those in functions too, those for type checkers only where asked for."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif for_types or not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _imports(node, for_types)
