"""Tests of the tests: a comparison is asserted, a test asserts something, a tolerance is a tolerance."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.rglob("*.py"))
COMPARISONS = {"allclose", "isclose", "array_equal", "array_equiv"}
CLAIMS = {"raises", "warns", "fail", "deprecated_call"}


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _inside_raises(tree: ast.AST) -> set[ast.AST]:
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(isinstance(item.context_expr, ast.Call) and _name(item.context_expr) == "raises" for item in node.items)
    ]
    return {inner for block in blocks for inner in ast.walk(block)}


def _claims_something(function: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and (_name(node) in CLAIMS or _name(node).startswith("assert_")))
        for node in ast.walk(function)
    )


def faults(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    excused = _inside_raises(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and node not in excused:
            if _name(node.value) in COMPARISONS:
                yield f"line {node.lineno}: the result of {_name(node.value)} is thrown away"
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant):
            yield f"line {node.lineno}: the assertion is a constant"
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple):
            yield f"line {node.lineno}: a tuple is always true"
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                negative = isinstance(keyword.value, ast.UnaryOp) and isinstance(keyword.value.op, ast.USub)
                if keyword.arg == "decimal" and negative:
                    yield f"line {node.lineno}: decimal < 0 accepts anything"
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not _claims_something(node):
            yield f"line {node.lineno}: {node.name} asserts nothing"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(Path(__file__).parent)))
def test_file_is_clean(path: Path) -> None:
    assert list(faults(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "def test_a():\n    np.allclose(1, 2)\n    assert f()",
        "def test_a():\n    f()",
        "def test_a():\n    assert True",
        "def test_a():\n    assert (f(), 'message')",
        "def test_a():\n    assert_almost_equal(1, 2, decimal=-10)",
    ],
)
def test_each_fault_is_found(source: str) -> None:
    assert len(list(faults(source))) == 1


def test_a_comparison_inside_raises_is_excused() -> None:
    assert list(faults("def test_a():\n    with pytest.raises(ValueError):\n        np.allclose(1, 'x')")) == []
