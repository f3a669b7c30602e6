"""The mutants of a module: its syntax tree with one change each."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

_SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    """One change: its line and column, what stood there and what stands there now."""

    source: str
    number: int
    name: str

    def tree(self) -> ast.Module:
        """The source's, with the change."""
        tree = ast.parse(self.source)
        parent, field, index, node = next(itertools.islice(_places(tree), self.number, None))
        value = ast.fix_missing_locations(ast.copy_location(_changed(node), node))
        if index is None:
            setattr(parent, field, value)
        else:
            getattr(parent, field)[index] = value
        return tree


def mutants(source: str) -> list[Mutant]:
    """Every mutant, in the order of the source."""
    found = []
    for number, (*_, node) in enumerate(_places(ast.parse(source))):
        changed = _changed(node)
        if changed is not None:
            before, after = (ast.unparse(one).splitlines()[0] for one in (node, changed))
            found.append(Mutant(source, number, f"{node.lineno}:{node.col_offset} {before} -> {after}"))
    return found


def _changed(node: ast.AST) -> ast.AST | None:
    """The changed node; None for one that is left alone."""
    match node:
        case ast.Compare(ops=[operator, *rest]) if type(operator) in _SWAPPED:
            return ast.Compare(node.left, [_SWAPPED[type(operator)](), *rest], node.comparators)
        case ast.BinOp() if type(node.op) in _SWAPPED:
            return ast.BinOp(node.left, _SWAPPED[type(node.op)](), node.right)
        case ast.BoolOp():
            return ast.BoolOp(_SWAPPED[type(node.op)](), node.values)
        case ast.UnaryOp(op=ast.Not()):
            return node.operand
        case ast.Constant(value=bool()):
            return ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            return ast.Constant((node.value * 10 or 1.0) if isinstance(node.value, float) else node.value + 1)
        case ast.If():
            return ast.If(ast.Constant(False), node.body, node.orelse)
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            return ast.Pass()
    return None


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below, but for annotations and messages, with where it hangs."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "exc", "cause", "msg") or isinstance(
            value, ast.JoinedStr
        ):
            continue
        for place, node in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(node, ast.AST) and not isinstance(node, ast.JoinedStr):
                yield tree, name, place, node
                yield from _places(node)
