"""SBP's two inner loops against the plain alternative, side by side in one run: time and difference.

The gradient of implicit score matching by hand against automatic differentiation of the same forward pass, and the
drift of a mollified kernel as a compiled pair sum against numpy.

python benchmarks/score_matching.py [N ...]
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from drift import best_of

from solver.pairs import PairDrift
from solver.sbp import Shape, matching_loss
from theory.kernels import mollified_coulomb


def automatic(shape: Shape, theta: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    """Gradient of mean |s|^2 + 2 div s, tangents carried forward as in ``matching_loss``, backward by the library."""
    weights = theta.clone().requires_grad_()
    *hidden, (last, bias) = shape.layers(weights)
    h, tangents = x, torch.eye(shape.d, dtype=x.dtype)[:, None].expand(-1, len(x), -1)
    for weight, shift in hidden:
        z, ahead = torch.nn.functional.linear(h, weight, shift), tangents @ weight.T
        sigma = torch.sigmoid(z)
        h, tangents = z * sigma, sigma * (1 + z * (1 - sigma)) * ahead
    s = torch.nn.functional.linear(h, last, bias)
    divergence = torch.einsum("jnw,jw->n", tangents, last)
    (s.square().sum(1) + 2 * divergence).mean().backward()
    gradient = weights.grad
    if gradient is None:
        raise RuntimeError("no gradient")
    return gradient.numpy()


def line(what: str, d: int, n: int, fast: tuple[float, np.ndarray], slow: tuple[float, np.ndarray]) -> None:
    """One row of the table."""
    (a, x), (b, y) = fast, slow
    print(f"{what:<16}{d:>2} {n:>7} {a:>10.2e} {b:>15.2e} {b / a:>7.2f} {np.abs(x - y).max() / np.abs(y).max():>12.1e}")


def main(sizes: list[int]) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'loop':<16}{'d':>2} {'N':>7} {'ours [s]':>10} {'alternative [s]':>15} {'ratio':>7} {'difference':>12}")
    for d in (2, 3):
        shape = Shape(d, 32, 3)
        theta = shape.random(torch.Generator().manual_seed(0), torch.float32)
        for n in sizes:
            x = torch.randn(n, d, generator=torch.Generator().manual_seed(1))
            ours = best_of(5, lambda s=shape, p=theta, x=x: matching_loss(s, p, x)[1].numpy())
            line("score matching", d, n, ours, best_of(3, lambda s=shape, p=theta, x=x: automatic(s, p, x)))
            rng = np.random.default_rng(0)
            drift = PairDrift(mollified_coulomb(d, 1 / 16, 1 / 4), *rng.standard_normal((2, n, d)), np.full(n, 1 / n))
            ours = best_of(2, lambda u=drift: u.at(u.x, u.s))
            line("pair drift", d, n, ours, best_of(1, lambda u=drift: u.in_numpy(u.x, u.s)))


if __name__ == "__main__":
    main([int(x) for x in sys.argv[1:]] or [2000, 8000])
