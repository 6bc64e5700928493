"""Constants that are known in closed form: kernel constants on B_R, friction, distances at the start."""

from __future__ import annotations

from certify.context import Context
from certify.estimator import Estimator
from theory.provenance import Estimate, Rigor, Side, exact


def compute(context: Context) -> dict[str, Estimate]:
    """Kernel constants; zero initial distance of densities (the identity hypothesis is checked separately)."""
    kernel, radius = context.problem.kernel, context.radius
    out = {
        "kappa": exact(kernel.kappa, "closed form of the kernel"),
        "kernel_bound": exact(kernel.sup_norm(radius), f"closed form on B_R, R = {radius:g}"),
        "kernel_lipschitz": exact(kernel.lipschitz(radius), f"closed form on B_R, R = {radius:g}"),
        "initial_distance": exact(0.0, "T(t0, .) = id, so both densities start as f0"),
        "initial_entropy": exact(0.0, "T(t0, .) = id, so both densities start as f0"),
    }
    if kernel.is_maxwell:
        out["friction"] = exact(kernel.friction, "(d-1) C of the Maxwell kernel")
    if not context.is_restart:
        out["initial_error"] = exact(0.0, "learned and reference particles start at the same points")
    return out


_NAMES = (
    "kappa",
    "kernel_bound",
    "kernel_lipschitz",
    "initial_distance",
    "initial_entropy",
    "friction",
    "initial_error",
)
ESTIMATOR = Estimator(
    id="constants",
    provides=dict.fromkeys(_NAMES, Side.BOTH),
    rigor=Rigor.EXACT,
    uses_exact_solution=False,
    compute=compute,
    why_not="the Maxwell kernel (friction); a window that starts with the model's (initial error)",
)
