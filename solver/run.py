"""A trained model as certify sees it: float64 numpy in, float64 numpy out (the ``Run`` protocol of certify)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from solver.jets import Layout, unpack
from solver.networks import Window, build, parameter_count
from theory.flow import FlowJets, Growth
from theory.perceptron import Perceptron
from theory.provenance import Array

# points per forward pass: keeps the working set of a 128-wide network in cache
CHUNK = 1000


class TorchRun:
    """Networks of a model file, weights widened exactly to float64."""

    def __init__(self, name: str, metadata: Mapping[str, Any], nets: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.name, self.metadata = name, metadata
        self.file: Mapping[str, Any] = {}
        self.d = int(metadata["d"])
        self.t0, self.T = Fraction(metadata["t0"]), Fraction(metadata["T"])
        window = Window(float(self.t0), float(self.T))
        self._nets: dict[str, nn.Module] = {}
        for key, net in build(metadata["architecture"], self.d, window).items():
            net.double().requires_grad_(False)
            net.load_state_dict({n: x.double() for n, x in nets[key].items()})
            self._nets[key] = net

    def _flow(self, t: Array, v: Array, layout: Layout) -> Tensor:
        flow: Any = self._nets["flow"]
        return _by_chunks(lambda tt, vv: flow.jet(tt, vv, layout), t, np.broadcast_to(v, (len(t), *v.shape)), 2)

    @torch.no_grad()
    def flow(self, t: Array, v: Array) -> Array:
        """T(t_k, v_i), shape (m, n, d)."""
        return self._flow(t, v, Layout(self.d, False, 0))[0].numpy()

    @torch.no_grad()
    def velocity(self, t: Array, v: Array) -> tuple[Array, Array]:
        """T and d_t T, (m, n, d) each."""
        jet = self._flow(t, v, Layout(self.d, True, 0))
        return jet[0].numpy(), jet[1].numpy()

    @torch.no_grad()
    def jets(self, t: Array, v: Array) -> FlowJets:
        """Flow with derivatives."""
        layout = Layout(self.d, True, 2)
        parts = unpack(self._flow(t, v, layout), layout)
        return FlowJets(*(getattr(parts, n).numpy() for n in ("value", "dt", "jac", "hess")))

    @torch.no_grad()
    def score(self, t: Array, x: Array) -> Array | None:
        """Learned score at x of shape (m, n, d), or None without a score network."""
        if "score" not in self._nets:
            return None
        net: Any = self._nets["score"]
        return _by_chunks(net.score, t, x, 1).numpy()

    @torch.no_grad()
    def score_divergence(self, t: Array, x: Array) -> Array | None:
        """Divergence of the learned score, (m, n), or None."""
        if "score" not in self._nets:
            return None
        net: Any = self._nets["score"]
        return _by_chunks(lambda a, b: net.score_and_divergence(a, b)[1], t, x, 1).numpy()

    def layers(self, net: str) -> tuple[tuple[Array, float], ...] | None:
        """Weights along the velocity path of the score network; None for flows (skip connections) or a missing net."""
        if net != "score" or "score" not in self._nets:
            return None
        module: Any = self._nets["score"]
        return tuple((w.detach().numpy(), slope) for w, slope in module.velocity_path())

    def network(self, net: str) -> Perceptron | None:
        """Weights of the score network; None for flows or a missing net."""
        if net != "score" or "score" not in self._nets:
            return None
        module: Any = self._nets["score"]
        (*velocity, fuse), hidden, last = module.layers()
        parts = module.net
        return Perceptron(
            velocity=tuple(map(_affine, velocity)),
            time=tuple(map(_affine, parts.time)),
            fuse_velocity=_affine(fuse),
            fuse_time=parts.fuse_time.weight.detach().numpy(),
            hidden=tuple(map(_affine, hidden)),
            output=_affine(last),
            activation=parts.activation,
            t0=parts.window.t0,
            T=parts.window.T,
        )

    def trained_on(self) -> Array | None:
        """The fixed particles of the training, (n, d); None if every step drew its own."""
        settings = self.metadata["training"].get("settings", {})
        if self.metadata["training"].get("method") != "pinn-pm" or settings.get("fresh", True):
            return None
        from solver.pinn_pm import fixed_particles
        from theory.problems import PROBLEMS

        family = PROBLEMS[self.metadata["problem"]]
        problem = family.rebuilt(self.t0, self.T, self.metadata["constants"])
        return fixed_particles(problem, int(settings["particles"]))

    def smooth(self) -> bool:
        """The vocabulary of activations has only smooth ones."""
        return True

    def diffeomorphism(self) -> bool:
        """By construction, for certified flows."""
        flow: Any = self._nets["flow"]
        return bool(flow.diffeomorphism())

    def growth(self, t: Array, radius: float) -> Growth | None:
        """Growth bounds of certified flows."""
        flow: Any = self._nets["flow"]
        if not flow.diffeomorphism():
            return None
        growth: Growth = flow.growth(torch.as_tensor(t, dtype=torch.float64), radius)
        return growth

    def describe(self) -> Mapping[str, Any]:
        """Architecture, training settings, versions, size."""
        return {
            "name": self.name,
            **{k: self.metadata[k] for k in ("problem", "constants", "t0", "T", "d", "architecture", "training")},
            "parameters": parameter_count(self._nets),
            "has_score": "score" in self._nets,
            "file": dict(self.file),
        }


def _affine(layer: Any) -> tuple[Array, Array]:
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def _by_chunks(f: Callable[[Tensor, Tensor], Tensor], t: Array, x: Array, axis: int) -> Tensor:
    """Apply f(t, x), x of shape (m, n, d), block by block of times and points; points lie on ``axis`` of the result."""
    points = x.shape[1]
    rows = max(1, CHUNK // max(1, points))
    out = []
    for k in range(0, len(t), rows):
        tt = torch.from_numpy(np.array(t[k : k + rows], dtype=np.float64))
        blocks = [
            f(tt, torch.from_numpy(np.array(x[k : k + rows, i : i + CHUNK], dtype=np.float64)))
            for i in range(0, points, CHUNK)
        ]
        out.append(torch.cat(blocks, dim=axis))
    return torch.cat(out, dim=axis - 1)
