"""The texts of the errors that this package raises, read from its sources without importing them.

``{path}`` of an f-string becomes ``‹path›``, anything longer than a name ``‹…›``. A text that a helper of the same
module composes is found there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOMES = ("pact_plugins", "integrations", "evals", "lab")
# Raised for programs, not for readers; validators of the settings are the exception.
_FOR_PROGRAMS = {"AttributeError", "ValueError", "AssertionError", "SystemExit", "KeyError", "TypeError"}
_VALIDATORS = {"pact_plugins/config.py", "pact_plugins/objective/gate.py"}


@dataclass(frozen=True, order=True)
class Message:
    """One text: ``place`` is the module's path in the repository, ``error`` the name of the class."""

    text: str
    error: str
    place: str


class UnreadableRaiseError(Exception):
    """The text of a raised error is made in a way that this module does not follow."""


def messages() -> list[Message]:
    """All of them, each once, sorted.

    Raises:
        UnreadableRaiseError: some text cannot be read from the source; names file and line.
    """
    found: set[Message] = set()
    for home in HOMES:
        for file in sorted((ROOT / home).rglob("*.py")):
            place = file.relative_to(ROOT).as_posix()
            found.update(_of_module(ast.parse(file.read_text(encoding="utf-8")), place))
    return sorted(found)


def _of_module(tree: ast.Module, place: str) -> Iterator[Message]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call) or not node.exc.args:
            continue
        error = ast.unparse(node.exc.func).removeprefix("click.")
        if error.startswith("_") or (error in _FOR_PROGRAMS and place not in _VALIDATORS):
            continue
        for text in _texts(node.exc.args[0], tree, f"{place}:{node.lineno}"):
            # Another error's words alone, passed on.
            if text.strip(" ‹›…") not in ("", "error", "reason"):
                yield Message(" ".join(text.split()), error, place)


def _texts(node: ast.expr, tree: ast.Module, where: str) -> list[str]:
    """Every text that the expression can be."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(_piece(value, tree) for value in values)]
        case ast.IfExp(body=body, orelse=orelse):
            return _texts(body, tree, where) + _texts(orelse, tree, where)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [first + second for first in _texts(left, tree, where) for second in _texts(right, tree, where)]
        case ast.Call(func=ast.Attribute(value=ast.Constant(), attr="join"), args=[ast.GeneratorExp(elt=inner)]):
            return _texts(inner, tree, where)
        case ast.Call(func=ast.Name(id="str"), args=[_]):
            return ["‹…›"]
        case ast.Call(func=ast.Name(id=name)):
            return _returned(name, tree, where)
        case ast.Name(id=name):
            return _assigned(name, tree, where)
        case ast.Attribute(attr=name):
            return [f"‹{name}›"]
    raise UnreadableRaiseError(f"{where}: the text {ast.unparse(node)} is no string, f-string or helper's result")


def _piece(value: ast.expr, tree: ast.Module) -> str:
    match value:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(value=ast.Name(id=name)) if name.isupper() and (text := _constant(name, tree)):
            return text
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.FormattedValue(value=ast.Attribute(attr=name)):
            return f"‹{name.strip('_').replace('_', ' ').lower()}›"
    return "‹…›"


def _constant(name: str, tree: ast.Module) -> str | None:
    """The text of a constant of the module."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str(text))) if target == name:
                return text
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.JoinedStr(values=values)) if target == name:
                return "".join(_piece(value, tree) for value in values)
    return None


def _returned(name: str, tree: ast.Module, where: str) -> list[str]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    returns = [node.value for function in functions for node in ast.walk(function) if isinstance(node, ast.Return)]
    found = [text for value in returns if value is not None for text in _texts(value, tree, where)]
    if not found:
        raise UnreadableRaiseError(f"{where}: no text is returned by {name} in the same module")
    return found


def _assigned(name: str, tree: ast.Module, where: str) -> list[str]:
    """The texts assigned to a variable of this name; a parameter or loop variable is shown by its name."""
    values = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
    ]
    return [text for value in values for text in _texts(value, tree, where)] or [f"‹{name}›"]
