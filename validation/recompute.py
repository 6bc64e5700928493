"""``python -m validation.recompute REPORT_DIR``: S1, S2, S3 once more, from ``arrays.npz`` with numpy alone.

A referee's second computation: nothing here is imported from the package that wrote the report. The formulas are those
of THEORY section 6.3 and 6.4 for the Maxwell kernel A(z) = C(|z|^2 I - z z^T), d = 2 or 3, written out again:

    U[f](x) = -C[(|z|^2 + tr S) s - z (z.s) - S s] - (d-1) C z,   z = x - mean, S = covariance of f, s = score at x
    S1   W2  <= int D,                      D  = L2 norm of d/dt T - U with the moments of the learned density
    S2   W_p <= int e^{-(d-1)C(t-s)} D_p,   D_p = L^p norm of e = d/dt T - U with the exact moments
    S3   KL  <= 1/4 int E[e^T A^{-1} e],    A  = C[(|z|^2 + tr S) I - z z^T - S];   L1 <= sqrt(2 KL)

with exact moments S(t) = T I + (S0 - T I) e^{-4dC(t-t0)}. The report's bounds have error estimates and tails added, so
they must not lie below what is printed here. Exit 0: none does; 10: one does; 2: the input cannot be used.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CERTIFICATES = {
    "stability_w2": "S1, W2",
    "stability_wp": "S2, W1",
    "stability_wp2": "S2, W2",
    "stability_kl": "S3, relative entropy",
    "stability_l1": "S3, L1 distance of the densities",
}
NODES_PER_PANEL = 7
CLOSE = 1.1  # 'within 10 %'
_MAX_BYTES = 4 * 2**30
_SCALARS = ("kernel_strength", "kernel_maxwell", "t_start")
_SHAPES = {
    "times": "k",
    "nodes_t": "m",
    "grid_edges": "e",
    "grid_fine": "m",
    "quadrature_nodes": "nd",
    "quadrature_weights": "n",
    "flow": "mnd",
    "flow_dt": "mnd",
    "s_push": "mnd",
    "mean0": "d",
    "cov0": "dd",
}


class BadInputError(Exception):
    """The report folder cannot be used; the message is one line."""


# --- reading


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays needed, float64, finite and of matching shapes; quadrature nodes of weight 0 are left out.

    Raises
    ------
    BadInputError
    """
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
                raise BadInputError(f"{path.name} unpacks to more than {_MAX_BYTES >> 30} GiB")
        with np.load(path, allow_pickle=False) as archive:
            for name in (*_SHAPES, *_SCALARS):
                if name not in archive.files:
                    raise BadInputError(f"{path.name} has no array {name!r}")
                found[name] = archive[name]
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise BadInputError(f"{path.name} cannot be read: {error}") from None
    for name, array in found.items():
        if array.dtype != np.float64:
            raise BadInputError(f"{name} has dtype {array.dtype}, not float64")
    _check_shapes(found)
    keep = found["quadrature_weights"] != 0
    for name in ("quadrature_nodes", "quadrature_weights"):
        found[name] = found[name][keep]
    for name in ("flow", "flow_dt", "s_push"):
        found[name] = found[name][:, keep]
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise BadInputError(f"{name} contains NaN or infinity")
    _check_values(found)
    return found


def _check_shapes(found: Mapping[str, Array]) -> None:
    sizes: dict[str, int] = {}
    for name, letters in _SHAPES.items():
        array = found[name]
        if array.ndim != len(letters):
            raise BadInputError(f"{name} has {array.ndim} axes, not {len(letters)}")
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise BadInputError(f"{name} has shape {array.shape}, which does not fit the other arrays")
    for name in _SCALARS:
        if found[name].size != 1:
            raise BadInputError(f"{name} is not a scalar")
    if sizes["d"] not in (2, 3):
        raise BadInputError(f"dimension {sizes['d']} is not 2 or 3")
    if min(sizes.values()) < 1 or sizes["e"] < 2 or sizes["m"] != NODES_PER_PANEL * (sizes["e"] - 1):
        raise BadInputError(f"{sizes['m']} time nodes are not {NODES_PER_PANEL} on each of {sizes['e'] - 1} panels")


def _check_values(found: Mapping[str, Array]) -> None:
    edges, start = found["grid_edges"], found["t_start"].item()
    panels = found["nodes_t"].reshape(-1, NODES_PER_PANEL)
    weights = found["grid_fine"].reshape(-1, NODES_PER_PANEL)
    length = np.diff(edges)
    if not (length > 0).all() or not math.isclose(edges[0], start, abs_tol=1e-12):
        raise BadInputError("grid_edges do not increase from t_start")
    if not ((panels > edges[:-1, None]) & (panels < edges[1:, None]) & (weights > 0)).all():
        raise BadInputError("a time node lies outside its panel, or a time weight is not positive")
    middle = (edges[1:] + edges[:-1]) / 2
    local = (panels - middle[:, None]) / (length[:, None] / 2)
    for degree in range(NODES_PER_PANEL):
        exact = (1 + (-1) ** degree) / (degree + 1)
        if np.max(np.abs(np.sum(weights * local**degree, axis=1) / (length / 2) - exact)) > 1e-9:
            raise BadInputError(f"grid_fine does not integrate polynomials of degree {degree} over its panels")
    if found["kernel_maxwell"].item() != 1.0:
        raise BadInputError("the kernel is not Maxwell; only the Maxwell certificates can be recomputed from moments")
    if not found["kernel_strength"].item() > 0:
        raise BadInputError("kernel_strength is not positive")
    mass, cov0 = found["quadrature_weights"].sum(), found["cov0"]
    if not abs(mass - 1) < 1e-3:
        raise BadInputError(f"quadrature_weights sum to {mass:.6g}, not 1")
    if np.max(np.abs(cov0 - cov0.T)) > 1e-12 * np.max(np.abs(cov0)) or np.linalg.eigvalsh(cov0)[0] <= 0:
        raise BadInputError("cov0 is not symmetric positive definite")


def read_report(path: Path) -> dict[str, tuple[Array, list[float | None]]]:
    """Times and bounds of the certificates S1 to S3 that the report has.

    Raises
    ------
    BadInputError
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise BadInputError(f"{path.name} cannot be read: {error}") from None
    certificates = report.get("certificates") if isinstance(report, dict) else None
    if not isinstance(certificates, list):
        raise BadInputError(f"{path.name} has no list of certificates")
    found = {}
    for certificate in certificates:
        name = certificate.get("id") if isinstance(certificate, dict) else None
        if name in CERTIFICATES:
            if name in found:
                raise BadInputError(f"{path.name} has two certificates {name}")
            found[name] = _curve(certificate, name)
    if not found:
        raise BadInputError(f"{path.name} has none of the certificates {', '.join(CERTIFICATES)}")
    return found


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _curve(certificate: Mapping[str, Any], name: str) -> tuple[Array, list[float | None]]:
    times, bound = certificate.get("times"), certificate.get("bound")
    if not isinstance(times, list) or not times or not all(_is_number(t) for t in times):
        raise BadInputError(f"the times of {name} are not a list of numbers")
    if bound is None:
        bound = [None] * len(times)
    if not isinstance(bound, list) or len(bound) != len(times):
        raise BadInputError(f"the bound of {name} is not a list over its times")
    if not all(value is None or _is_number(value) for value in bound):
        raise BadInputError(f"the bound of {name} holds something that is neither a number nor null")
    return np.array(times, dtype=np.float64), [None if value is None else float(value) for value in bound]


# --- the mathematics


def velocity(strength: float, z: Array, covariance: Array, s: Array) -> tuple[Array, Array]:
    """U at mean + z, and the sum of the sizes of its terms, which measures the rounding error."""
    d = z.shape[1]
    r2, trace = np.sum(z * z, axis=1)[:, None], np.trace(covariance)
    diffusion = (r2 + trace) * s - z * np.sum(z * s, axis=1)[:, None] - s @ covariance
    size = strength * ((2 * r2[:, 0] + 2 * trace) * np.linalg.norm(s, axis=1) + (d - 1) * np.sqrt(r2[:, 0]))
    return -strength * diffusion - (d - 1) * strength * z, size


def exact_covariance(cov0: Array, strength: float, elapsed: float) -> Array:
    """Covariance of the exact solution after a time ``elapsed``."""
    d = len(cov0)
    level = np.trace(cov0) / d * np.eye(d)
    return level + (cov0 - level) * math.exp(-4 * d * strength * elapsed)


@dataclass(frozen=True)
class Integrals:
    """S1 to S3 at the grid edges, each (p + 1,), and how much of each may be rounding."""

    edges: Array
    value: Mapping[str, Array]
    rounding: Mapping[str, Array]
    mass: float
    moment_gap: float
    stein: float

    def at(self, name: str, t: float) -> tuple[float, float]:
        """Value and rounding at the edge t.

        Raises
        ------
        BadInputError
            If t is no edge.
        """
        k = int(np.argmin(np.abs(self.edges - t)))
        if abs(self.edges[k] - t) > 1e-9 * (self.edges[-1] - self.edges[0]):
            raise BadInputError(f"the report time {t!r} is not an edge of the time grid")
        return float(self.value[name][k]), float(self.rounding[name][k])


def recompute(arrays: Mapping[str, Array]) -> Integrals:
    """S1 to S3 from the arrays of ``read_arrays``, without error estimates and tails."""
    strength, start = arrays["kernel_strength"].item(), arrays["t_start"].item()
    weights, mean0, cov0 = arrays["quadrature_weights"], arrays["mean0"], arrays["cov0"]
    d, mass = len(mean0), float(weights.sum())
    rates = {name: np.zeros(len(arrays["nodes_t"])) for name in ("w2", "l1", "l2", "entropy")}
    noise = {name: np.zeros(len(arrays["nodes_t"])) for name in rates}
    stein = 0.0
    for k, t in enumerate(arrays["nodes_t"]):
        x, u, s = arrays["flow"][k], arrays["flow_dt"][k], arrays["s_push"][k]
        mean = weights @ x / mass
        z = x - mean
        learned, size = velocity(strength, z, (weights[:, None] * z).T @ z / mass, s)
        rounding = 64 * np.finfo(np.float64).eps * (size + np.linalg.norm(u, axis=1))
        rates["w2"][k] = _norm(u - learned, weights)
        noise["w2"][k] = noise["l2"][k] = math.sqrt(weights @ rounding**2)
        # the linear equation with the exact moments
        z, covariance = x - mean0, exact_covariance(cov0, strength, float(t) - start)
        linear, _ = velocity(strength, z, covariance, s)
        e = u - linear
        rates["l1"][k], noise["l1"][k] = weights @ np.linalg.norm(e, axis=1), weights @ rounding
        rates["l2"][k] = _norm(e, weights)
        r2 = np.sum(z * z, axis=1)[:, None, None]
        trace, eye = np.trace(covariance), np.eye(d)
        diffusion = strength * ((r2 + trace) * eye - z[:, :, None] * z[:, None, :] - covariance)
        solved = np.linalg.solve(diffusion, e[:, :, None])[:, :, 0]
        rates["entropy"][k] = max(weights @ np.sum(e * solved, axis=1), 0.0)
        floor = (weights @ rounding**2) / (strength * (trace - np.linalg.eigvalsh(covariance)[-1]))
        noise["entropy"][k] = 2 * math.sqrt(rates["entropy"][k] * floor) + floor
        residual = np.append(weights @ s, ((weights[:, None] * s).T @ z + mass * eye).ravel())
        stein = max(stein, float(np.max(np.abs(residual))))
    friction = (d - 1) * strength
    value, slack = (
        {
            "stability_w2": integrate(arrays, part["w2"], 0.0),
            "stability_wp": integrate(arrays, part["l1"], friction),
            "stability_wp2": integrate(arrays, part["l2"], friction),
            "stability_kl": integrate(arrays, part["entropy"], 0.0) / 4,
        }
        for part in (rates, noise)
    )
    kl = value["stability_kl"]
    value["stability_l1"] = np.sqrt(2 * kl)
    slack["stability_l1"] = value["stability_l1"] - np.sqrt(2 * np.maximum(kl - slack["stability_kl"], 0))
    z = arrays["quadrature_nodes"] - mean0
    gap = np.append(weights @ z, ((weights[:, None] * z).T @ z - cov0).ravel())
    return Integrals(arrays["grid_edges"], value, slack, mass, float(np.max(np.abs(gap))), stein)


def _norm(e: Array, weights: Array) -> float:
    return math.sqrt(max(weights @ np.sum(e * e, axis=1), 0.0))


def integrate(arrays: Mapping[str, Array], rate: Array, decay: float) -> Array:
    """Integral of exp(-decay (t - s)) rate(s) ds from the start to every edge t."""
    edges = arrays["grid_edges"]
    values = (arrays["grid_fine"] * rate).reshape(-1, NODES_PER_PANEL)
    nodes = arrays["nodes_t"].reshape(-1, NODES_PER_PANEL)
    total = np.zeros(len(edges))
    for k, panel in enumerate(values):
        kept = total[k] * math.exp(-decay * (edges[k + 1] - edges[k]))
        total[k + 1] = kept + panel @ np.exp(-decay * (edges[k + 1] - nodes[k]))
    return total


# --- the comparison


def verdict(value: float, rounding: float, bound: float | None) -> str:
    """``within 10 %``, ``loose``, ``TOO SMALL`` or ``no bound``."""
    if bound is None:
        return "no bound"
    if value - rounding > bound * (1 + 1e-10):
        return "TOO SMALL"
    return "within 10 %" if bound <= CLOSE * (value + rounding) else "loose"


def compare(folder: Path, out: TextIO) -> bool:
    """Print recomputed values beside the report's bounds; whether no bound is too small.

    Raises
    ------
    BadInputError
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder")
    report = read_report(folder / "report.json")
    arrays = read_arrays(folder / "arrays.npz")
    with np.errstate(over="ignore", invalid="ignore"):
        integrals = recompute(arrays)
    if not all(np.isfinite(values).all() for values in integrals.value.values()):
        raise BadInputError("the arrays hold numbers so large that the integrals overflow")
    count = dict.fromkeys(("within 10 %", "loose", "TOO SMALL", "no bound"), 0)
    lines = []
    for name, title in CERTIFICATES.items():
        if name not in report:
            lines.append(f"\n{name} ({title}): not in the report")
            continue
        lines.append(f"\n{name} ({title})\n{'t':>12} {'recomputed':>14} {'bound':>14} {'ratio':>9}  verdict")
        for t, bound in zip(*report[name], strict=True):
            value, rounding = integrals.at(name, float(t))
            word = verdict(value, rounding, bound)
            count[word] += 1
            shown = "-" if bound is None else f"{bound:.6e}"
            ratio = f"{bound / value:.4f}" if bound is not None and value > 0 else "-"
            lines.append(f"{t:12.6g} {value:14.6e} {shown:>14} {ratio:>9}  {word}")
    print(
        f"recomputed from arrays.npz with numpy {np.__version__}, without error estimates and tails\n"
        f"mass of the quadrature 1 {integrals.mass - 1:+.1e}, moments of f0 off by {integrals.moment_gap:.1e}, "
        f"Stein {integrals.stein:.1e}",
        file=out,
    )
    print("\n".join(lines), file=out)
    print("\n" + ", ".join(f"{number} {word}" for word, number in count.items()), file=out)
    return count["TOO SMALL"] == 0


def main(argv: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m validation.recompute", description="S1-S3 from arrays.npz again.")
    parser.add_argument("folder", type=Path, metavar="REPORT_DIR", help="folder with report.json and arrays.npz")
    try:
        folder = parser.parse_args(argv).folder
    except SystemExit as stop:
        return 2 if stop.code else 0
    try:
        return 0 if compare(folder, sys.stdout if out is None else out) else 10
    except BadInputError as error:
        line = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
        sys.stderr.write(f"recompute: {line[:300]}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
