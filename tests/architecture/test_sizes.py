"""Modules and functions stay small: the sizes of docs/architecture.md."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    path
    for package in ("cade", "models", "simulator", "daemon")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.stat().st_size > 200  # an __init__ of one line would flatter the median
]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def function_lines(path: Path) -> dict[str, int]:
    """Lines of each function, from `def` to its end, without the docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": length(node)
        for node in ast.walk(tree)
        if isinstance(node, Function)
    }


def length(function: Function) -> int:
    whole = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return whole
    docstring = function.body[0]
    return whole - ((docstring.end_lineno or 0) - docstring.lineno + 1)


def share_within(sizes: list[int], limit: int) -> float:
    return sum(size <= limit for size in sizes) / len(sizes)


def test_modules() -> None:
    sizes = {str(path.relative_to(ROOT)): module_lines(path) for path in MODULES}
    assert statistics.median(sizes.values()) <= 120
    assert share_within(list(sizes.values()), 350) >= 0.9
    assert not {name: size for name, size in sizes.items() if size > 500}


def test_functions() -> None:
    sizes = {name: size for path in MODULES for name, size in function_lines(path).items()}
    assert share_within(list(sizes.values()), 30) >= 0.9
    assert not {name: size for name, size in sizes.items() if size > 80}


@pytest.mark.parametrize("docstring", ["", '    """One.\n\n    Two.\n    """\n'])
def test_docstrings_do_not_count(docstring: str) -> None:
    [function] = ast.parse(f"def f():\n{docstring}    a = 1\n    return a\n").body
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 3
