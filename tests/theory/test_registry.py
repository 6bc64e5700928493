"""A registry is a mapping of what its package's modules define."""

import sys
from pathlib import Path

import pytest

from theory.errors import CODES, UserError
from theory.problems import PROBLEMS
from theory.registry import Registry, UnknownNameError
from theory.theorems import THEOREMS


@pytest.mark.parametrize("registry", [PROBLEMS, THEOREMS])
def test_items_are_found_under_their_ids(registry: Registry) -> None:
    assert len(registry) >= 2
    assert all(registry[name].id == name for name in registry)


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        PROBLEMS["bkw2"]
    assert str(caught.value) == "unknown problem 'bkw2'; did you mean 'bkw2d'?"


def test_a_name_like_no_other_lists_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match=r"known: .*bkw2d"):
        PROBLEMS["zzzzzz"]


def test_a_registry_keeps_the_mapping_protocol_for_absent_names() -> None:
    assert "zzzzzz" not in PROBLEMS
    assert PROBLEMS.get("zzzzzz") is None


def test_a_tuple_registers_every_item_and_a_module_without_the_attribute_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = _package(tmp_path, monkeypatch, "registry_ok", a="THING = (Thing('x'), Thing('y'))", b="")
    assert sorted(registry) == ["x", "y"]


def test_two_items_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _package(tmp_path, monkeypatch, "registry_twice", a="THING = Thing('x')", b="THING = Thing('x')")
    with pytest.raises(ValueError, match="two things are called 'x'"):
        len(registry)


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, **modules: str) -> Registry:
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    head = "class Thing:\n    def __init__(self, id): self.id = id\n"
    for module, body in modules.items():
        (package / f"{module}.py").write_text(head + body)
    monkeypatch.syspath_prepend(str(folder))
    for loaded in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    return Registry(name, "THING", "thing")


def test_a_user_error_is_one_line_with_cause_fix_and_exit_status() -> None:
    error = UserError("E201", "unknown problem 'x'", "Run certify problems")
    assert error.line() == "certify: error E201: unknown problem 'x'. Run certify problems"
    assert error.exit_code == 4


def test_exit_status_1_is_reserved_for_our_own_faults() -> None:
    assert all(status not in (0, 1) for status, _ in CODES.values())
