"""The parameters of a problem on the command line, and models that were made with other ones than the defaults."""

import io
import math
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from certify import catalogue
from certify.api import problem_of
from certify.cli import _own_problem, main
from certify.judge import Resting, check_compatible, own_problem
from certify.text import rounded_up
from theory.errors import UserError
from theory.problem import Problem
from theory.problems import parse_problem


@dataclass(frozen=True)
class Made(Resting):
    """A flow that rests and says for which problem it was made."""

    about: Mapping[str, Any] = ()  # type: ignore[assignment]

    def describe(self) -> Mapping[str, Any]:
        return self.about


def made_for(problem: Problem, **changes: Any) -> Any:
    about = {"problem": problem.id, "constants": dict(problem.constants)} | changes
    return Made(problem.d, problem.t0, problem.T, about=about)


def run(*argv: str) -> tuple[int, str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(list(argv))
    return code, stdout.getvalue(), stderr.getvalue()


def test_problems_show_kappa_of_the_chosen_mollification() -> None:
    code, stdout, _ = run("problems", "anisotropic2d:epsilon=1/10")
    kappa = 4 * (3 / 7) ** 3.5 / 16 * 10**3
    assert code == 0
    assert f"stability constant kappa' = {rounded_up(kappa)}\n" in stdout
    assert "epsilon = 1/10" in stdout
    assert f"e^(2 kappa' (T - t0)) = 10^{math.ceil(80 * kappa / math.log(10))}\n" in stdout
    assert "(anisotropic2d:t0=0,T=40,epsilon=1/10)" in stdout
    assert "parameter  epsilon, mollification length, from 1/1000 to 10" in stdout
    assert f"kappa' = {rounded_up(kappa)}\n" not in run("problems", "anisotropic2d")[1]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            "anisotropic2d:epsilon=0",
            "error E204: anisotropic2d:epsilon=0 does not exist: epsilon = 0 is not between 1/1000 and 10 "
            "(mollification length). Choose other values: --problem anisotropic2d:t0=1/2,T=5,epsilon=1/4",
        ),
        ("anisotropic2d:mu=1", "error E400: cannot read 'mu=1'; anisotropic2d takes t0, T, epsilon. For example"),
        ("bkw2d:t0=6", "error E204: bkw2d:t0=6 does not exist: the window [6, 5] is empty. Choose other values"),
    ],
)
def test_a_bad_parameter_is_one_clear_line(spec: str, line: str) -> None:
    code, stdout, stderr = run("problems", spec)
    assert code != 0
    assert stdout == ""
    assert line in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    "spec", ["anisotropic2d:epsilon=1/10", "rosenbluth3d:T=5,epsilon=1/8", "truncated2d:t0=1/2,R=3"]
)
def test_the_own_problem_of_a_model_has_the_constants_of_the_model(spec: str) -> None:
    problem = parse_problem(spec)
    model = made_for(problem)
    for found in (problem_of(model), _own_problem(model, "model")):
        assert (found.spec, found.constants) == (problem.spec, problem.constants)
    check_compatible(model, problem)


def test_a_restart_keeps_the_constants_of_its_problem() -> None:
    problem = parse_problem("anisotropic2d:epsilon=1/10")
    later = parse_problem("anisotropic2d:t0=1,epsilon=1/10")
    assert own_problem(made_for(problem), later).spec == problem.spec
    truncated = parse_problem("truncated2d:t0=1,R=3")
    full = own_problem(made_for(parse_problem("truncated2d:t0=1/2,R=3")), truncated.without_exact_solution())
    assert (full.spec, full.exact) == ("truncated2d:t0=1/2,T=5,R=3", None)
    v = np.array([[0.3, 0.4]])
    other = parse_problem("truncated2d:t0=1/2").initial.log_density(v)
    assert full.initial.log_density(v) != pytest.approx(other, rel=1e-3)


def test_a_model_of_another_mollification_is_refused_with_its_own_specification() -> None:
    model = made_for(parse_problem("anisotropic2d:epsilon=1/10"))
    with pytest.raises(UserError, match="other constants") as caught:
        check_compatible(model, parse_problem("anisotropic2d"))
    assert caught.value.code == "E203"
    assert "Use --problem anisotropic2d:t0=0,T=40,epsilon=1/10." in caught.value.line()


def test_a_model_of_other_fixed_constants_is_refused_without_a_specification() -> None:
    problem = parse_problem("anisotropic2d")
    for change in ({"C": "1/8"}, {"C": "1/8", "epsilon": "1/10"}):
        with pytest.raises(UserError, match="Train a model for this problem"):
            check_compatible(made_for(problem, constants=dict(problem.constants) | change), problem)


def test_constants_that_no_problem_has_are_refused_in_words() -> None:
    model = made_for(parse_problem("anisotropic2d"), constants={"epsilon": "a lot"})
    for ask in (problem_of, lambda m: _own_problem(m, "model")):
        with pytest.raises(UserError, match="cannot read 'epsilon=a lot'"):
            ask(model)
    beyond = made_for(parse_problem("anisotropic2d"), constants={"epsilon": "99"})
    for ask in (problem_of, lambda m: _own_problem(m, "model")):
        with pytest.raises(UserError, match="epsilon = 99 is not between"):
            ask(beyond)


def test_specifications_of_unknown_problems_are_left_to_the_reader_of_specifications() -> None:
    text = catalogue.specification_of("bkw9d", Fraction(0), Fraction(1), {"epsilon": "1"})
    assert text == "bkw9d:t0=0,T=1"
    with pytest.raises(UserError, match="unknown problem 'bkw9d'"):
        _own_problem(replace(made_for(parse_problem("bkw2d")), about={"problem": "bkw9d"}), "model")
