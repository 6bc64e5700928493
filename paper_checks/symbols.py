"""Sympy tools shared by the checks: vectors, kernels, and exact Gaussian integrals of polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
from sympy import Expr, Matrix, Rational, Symbol


def vector(name: str, d: int) -> Matrix:
    """Column of d real symbols name1 ... named."""
    return Matrix([Symbol(f"{name}{i + 1}", real=True) for i in range(d)])


def gradient(f: Expr, x: Matrix) -> Matrix:
    """Gradient as a column."""
    return Matrix([sympy.diff(f, xi) for xi in x])


def divergence(field: Matrix, x: Matrix) -> Expr:
    """Divergence of a column field."""
    return sympy.Add(*(sympy.diff(field[i], x[i]) for i in range(len(x))))


def projector(z: Matrix) -> Matrix:
    """|z|^2 I - z z^T: the kernel matrix with profile 1."""
    return (z.T * z)[0] * sympy.eye(len(z)) - z * z.T


def antisymmetric_root(z: Matrix) -> Matrix:
    """S(z), linear in z, with S S^T = |z|^2 I - z z^T: z rotated by 90 degrees in 2D, the cross product in 3D."""
    if len(z) == 2:
        return Matrix([-z[1], z[0]])
    return Matrix([[0, -z[2], z[1]], [z[2], 0, -z[0]], [-z[1], z[0], 0]])


def is_zero(expression: Any) -> bool:
    """Whether a rational expression, or every entry of a matrix, is identically zero."""
    entries: Sequence[Any] = list(expression) if isinstance(expression, sympy.MatrixBase) else [expression]
    return all(
        sympy.expand(entry) == 0 or sympy.expand(sympy.numer(sympy.together(entry))) == 0
        for entry in map(sympy.sympify, entries)
    )


def gaussian_mean(polynomial: Expr, x: Matrix, variances: Sequence[Any]) -> Expr:
    """E[p(X)] for independent centred X_i ~ N(0, variances[i]), from E X^(2k) = (2k-1)!! var^k."""
    total: Expr = sympy.Integer(0)
    for powers, coefficient in sympy.Poly(sympy.expand(polynomial), *x).terms():
        if all(power % 2 == 0 for power in powers):
            moment = [sympy.factorial2(n - 1) * var ** Rational(n, 2) for n, var in zip(powers, variances, strict=True)]
            total += coefficient * sympy.Mul(*moment)
    return sympy.expand(total)
