"""Derivatives carried along by the networks are those of the map, and certified flows keep their promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from solver.jets import Layout, activate, log_det_and_score, seed, unpack
from solver.networks import CertifiedFlow, Window, build_flow
from solver.run import TorchRun
from solver.train import metadata
from theory.problems import parse_problem

WINDOW = Window(0.5, 5.0)
TIMES = torch.tensor([0.5, 0.9, 3.1, 5.0], dtype=torch.float64)
FREE = {"kind": "free", "velocity_embedding": [6, 1], "time_embedding": [5, 1], "hidden": [7, 2], "activation": "silu"}
CERTIFIED = {"kind": "certified", "blocks": 3, "width": 8, "time_width": 6, "lipschitz": 0.9}
CASES = [(kind, d, core) for kind in (FREE, CERTIFIED) for d, core in ((2, False), (2, True), (3, False))]
FLOWS = pytest.mark.parametrize(
    ("kind", "d", "core"), CASES, ids=[f"{k['kind']}-{d}d{'-core' * c}" for k, d, c in CASES]
)


def random_flow(kind: dict[str, Any], d: int, core: bool, number: int = 0, large: float = 1.0) -> Any:
    """A flow with random weights, ``large`` times the usual ones."""
    torch.manual_seed(number)
    flow: Any = build_flow({**kind, **({"core": 2 / 3} if core else {})}, d, WINDOW).double().requires_grad_(False)
    for name, p in flow.named_parameters():
        p.copy_(torch.randn_like(p) * 0.4 if name == "core.rate" else p * large)
    return flow


def points(d: int, n: int = 12, number: int = 1) -> Tensor:
    """Points away from the origin, where a core map has no derivatives."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x * (0.3 + x.norm(dim=1, keepdim=True)) / x.norm(dim=1, keepdim=True)


def value(flow: Any, t: Tensor, v: Tensor) -> Tensor:
    return flow.jet(t, v[None], Layout(flow.d, False, 0))[0]


def full(flow: Any, t: Tensor, v: Tensor) -> Any:
    layout = Layout(flow.d, True, 2)
    return unpack(flow.jet(t, v[None], layout), layout)


@FLOWS
def test_jets_are_the_difference_quotients_of_the_map(kind: dict[str, Any], d: int, core: bool) -> None:
    flow, v, h = random_flow(kind, d, core), points(d), 1e-5
    t = TIMES[1:]  # before t0 a core map means nothing
    parts = full(flow, t, v)
    assert torch.equal(parts.value, value(flow, t, v))
    dt = (value(flow, t + h, v) - value(flow, t - h, v)) / (2 * h)
    assert parts.dt.numpy() == pytest.approx(dt.numpy(), abs=1e-8)
    for j in range(d):
        step = h * torch.eye(d, dtype=torch.float64)[j]
        column = (value(flow, t, v + step) - value(flow, t, v - step)) / (2 * h)
        assert parts.jac[..., j].numpy() == pytest.approx(column.numpy(), abs=1e-8)
        second = (full(flow, t, v + step).jac - full(flow, t, v - step).jac) / (2 * h)
        assert parts.hess[..., j].numpy() == pytest.approx(second.numpy(), abs=1e-7)


@FLOWS
def test_lower_layouts_give_the_same_channels(kind: dict[str, Any], d: int, core: bool) -> None:
    flow, v = random_flow(kind, d, core), points(d)
    parts, layout = full(flow, TIMES, v), Layout(d, False, 1)
    first = flow.jet(TIMES, v[None], layout)
    for j in range(d):
        assert first[layout.velocity(j)].numpy() == pytest.approx(parts.jac[..., j].numpy(), abs=1e-13)
    timed = flow.jet(TIMES, v[None], Layout(d, True, 0))
    assert timed[1].numpy() == pytest.approx(parts.dt.numpy(), abs=1e-13)


@FLOWS
@pytest.mark.parametrize("large", [1.0, 30.0])
def test_every_flow_starts_at_the_identity_without_rounding(
    kind: dict[str, Any], d: int, core: bool, large: float
) -> None:
    flow, v = random_flow(kind, d, core, large=large), points(d, 200)
    assert torch.equal(value(flow, TIMES[:1], v)[0], v)
    parts = full(flow, TIMES[:1], v)
    assert parts.jac[0].numpy() == pytest.approx(np.broadcast_to(np.eye(d), (200, d, d)), abs=1e-12)


@pytest.mark.parametrize("kind", ["silu", "tanh"])
@pytest.mark.parametrize("layout", [Layout(2, True, 2), Layout(3, True, 2), Layout(2, False, 1), Layout(0, True, 0)])
@pytest.mark.parametrize("timed", [False, True])
def test_the_adjoint_of_the_activation_is_its_derivative(kind: str, layout: Layout, timed: bool) -> None:
    torch.manual_seed(0)
    m, n, k = 2, 3, 2

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    if timed:  # the jet is shared by all times, the shift is a feature of time
        jet, shift, rate = draw(layout.channels, 1, n, k), draw(m, 1, k), draw(m, 1, k)
        assert torch.autograd.gradcheck(lambda a, b, c: activate(a, layout, kind, b, c), (jet, shift, rate))
    else:
        jet, shift = draw(layout.channels, m, n, k), draw(k)
        assert torch.autograd.gradcheck(lambda a, b: activate(a, layout, kind, b), (jet, shift))


@pytest.mark.parametrize(("d", "core"), [(2, False), (2, True), (3, False)])
def test_the_pushforward_score_is_the_gradient_of_the_learned_log_density(d: int, core: bool) -> None:
    flow, v, h = random_flow(CERTIFIED, d, core, large=3.0), points(d), 1e-5
    t = TIMES[1:]
    initial = parse_problem("bkw2d:t0=1/2" if d == 2 else "bkw3d").initial

    def log_density(x: Tensor) -> Tensor:  # of the learned law at T(t, x)
        return torch.from_numpy(initial.log_density(x.numpy())) - torch.log(torch.det(full(flow, t, x).jac))

    parts = full(flow, t, v)
    score0 = initial.score(v.numpy())
    det, score = log_det_and_score(parts, torch.from_numpy(score0))
    assert det.numpy() == pytest.approx(torch.det(parts.jac).numpy(), rel=1e-12)
    pulled = (parts.jac.mT @ score[..., None])[..., 0]  # gradient in v of log f~(T(t, v))
    for j in range(d):
        step = h * torch.eye(d, dtype=torch.float64)[j]
        difference = (log_density(v + step) - log_density(v - step)) / (2 * h)
        assert pulled[..., j].numpy() == pytest.approx(difference.numpy(), abs=1e-6, rel=1e-6)
    spec = {"flow": CERTIFIED | ({"core": 2 / 3} if core else {})}
    problem = parse_problem("bkw2d:t0=1/2,T=5" if d == 2 else "bkw3d:t0=11/2,T=10")
    if d == 2:  # certify's own formula on the same jets
        run = TorchRun("random", metadata(problem, spec, {}), {"flow": flow.state_dict()})
        jets = run.jets(t.numpy(), v.numpy())
        assert jets.pushforward_score(score0) == pytest.approx(score.numpy(), rel=1e-9, abs=1e-9)
        assert jets.det() == pytest.approx(det.numpy(), rel=1e-12)


def block_slopes(flow: CertifiedFlow, k: int, x: Tensor, y: Tensor) -> Tensor:
    """Difference quotients of what block k adds to the identity, and its largest local slope, at all times."""
    bias, _, a, _ = flow.modulation(TIMES)[0][k]
    w1, w2, _ = flow.block_weights(k)

    def residual(z: Tensor) -> Tensor:
        return (a[:, None] * torch.tanh(z @ w1.T + bias[:, None])) @ w2.T

    quotients = (residual(x) - residual(y)).norm(dim=-1) / (x - y).norm(dim=-1)
    slope = a[:, None] * (1 - torch.tanh(x @ w1.T + bias[:, None]) ** 2)
    local = torch.linalg.matrix_norm((w2 * slope[..., None, :]) @ w1, 2)
    return torch.stack([quotients.max(), local.max()])


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("large", [1.0, 20.0, 1e3])
def test_no_sampled_slope_of_a_block_exceeds_its_certified_constant(d: int, large: float) -> None:
    x, y = points(d, 300, 2), points(d, 300, 3)
    for number in range(4):
        flow = random_flow(CERTIFIED, d, False, number, large)
        assert flow.diffeomorphism()
        for k in range(flow.blocks):
            certified = float(flow.block_weights(k)[2])
            assert certified <= 0.9 * (1 + 1e-9)
            assert block_slopes(flow, k, x, y).max() <= certified


@pytest.mark.parametrize(("d", "core"), [(2, False), (2, True), (3, False)])
@pytest.mark.parametrize("large", [1.0, 10.0])
def test_certified_flows_never_fold(d: int, core: bool, large: float) -> None:
    for number in range(4):
        flow = random_flow(CERTIFIED, d, core, number, large)
        parts = full(flow, TIMES, torch.cat([points(d, 400, 4), 8 * points(d, 50, 5)]))
        assert torch.det(parts.jac).min() > 0


@pytest.mark.parametrize(("d", "core"), [(2, False), (2, True), (3, False)])
@pytest.mark.parametrize("large", [1.0, 5.0])
def test_growth_bounds_hold_beyond_their_radius(d: int, core: bool, large: float) -> None:
    radius = 6.0
    for number in range(4):
        flow = random_flow(CERTIFIED, d, core, number, large)
        growth = flow.growth(TIMES, radius)
        v = points(d, 300, 6)
        v = v / v.norm(dim=1, keepdim=True) * radius * (1 + 4 * torch.rand(300, 1, dtype=torch.float64) ** 3)
        parts, r = full(flow, TIMES, v), v.norm(dim=1).numpy()
        reach = growth.reach[0][:, None] + growth.reach[1][:, None] * r
        speed = growth.speed[0][:, None] + growth.speed[1][:, None] * r
        assert (parts.value.norm(dim=-1).numpy() <= reach).all()
        assert (parts.dt.norm(dim=-1).numpy() <= speed).all()
        inverse = 1 / torch.linalg.svdvals(parts.jac)[..., -1].numpy()
        assert (inverse <= growth.inverse[:, None]).all()
        log = torch.einsum("...ki,...ikj->...j", torch.linalg.inv(parts.jac), parts.hess).norm(dim=-1).numpy()
        assert (log <= growth.log_det[:, None]).all()


def test_the_growth_of_the_log_determinant_is_bounded_where_one_neuron_bends_far_out() -> None:
    flow = random_flow(CERTIFIED | {"blocks": 1, "width": 1}, 2, False)
    flow.inner[0].copy_(torch.tensor([[1.0, 0.0]]))
    flow.outer[0].copy_(torch.tensor([[0.2], [0.0]]))
    flow.time_out.weight.zero_()
    flow.time_out.bias.copy_(torch.tensor([-10.0, 5.0, 0.0]))  # the neuron switches at v1 = 10
    v = torch.stack([torch.linspace(6.0, 14.0, 2001), torch.zeros(2001)], dim=1).double()
    parts, growth = full(flow, TIMES, v), flow.growth(TIMES, 6.0)
    log = torch.einsum("...ki,...ikj->...j", torch.linalg.inv(parts.jac), parts.hess).norm(dim=-1).numpy()
    assert (log <= growth.log_det[:, None]).all()
    assert log[-1].max() > 0.25 * growth.log_det[-1]  # so a constant four times too small would be seen


def test_the_seed_of_a_jet_is_the_identity() -> None:
    layout = Layout(3, True, 2)
    parts = unpack(seed(points(3)[None], layout), layout)
    assert torch.equal(parts.value[0], points(3))
    assert torch.equal(parts.jac[0, 0], torch.eye(3, dtype=torch.float64))
    assert not parts.dt.any()
    assert not parts.hess.any()
