"""Value and velocity Jacobian of a network over boxes (time slab x velocity cell), as Taylor models, batched.

Variables xi in [-1, 1]^(1+d): time first, then velocity. Along the layers a Taylor model of the value and one of each
velocity derivative are carried together with plain intervals; each layer's remainder uses the better of both.

*Adjoint remainder.* Let e be the exact error of a model at a layer. One activation and one linear layer take it to
W(D e + nu), D = f'(centre), with nu bounded locally; so the error of the output is the sum over layers of (centre
linear map from there to the output) nu, and |centre map| is far smaller than the product of |W| that a forward
recursion meets. The centre maps are swept back as floats; H bounds their own rounding error, so the sum is a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from certify.verified.activations import JETS, PAD, UNIT, extremes, value_pad
from certify.verified.taylor import Taylor, pairs
from theory.perceptron import Layer, Perceptron
from theory.provenance import Array

SLACK = 1 + 64 * UNIT  # for sums and products of non-negative floats


def gamma(terms: int) -> float:
    """Relative error of a sum of products of that many terms in any order, generously (Higham, section 3.1)."""
    return 1.1 * (terms + 8) * UNIT


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Value (B, out) and Jacobian (B, out, d) of a network over boxes."""

    value: Taylor
    jacobian: Taylor


class _Local(NamedTuple):
    """What the backward sweep needs of one activation."""

    p0: Array  # f' at the centre
    bend: Array  # f'' times the centre of each derivative, (B, d, k)
    new: Array  # local error of the value, (B, k)
    new_tangent: Array  # of the derivatives, (B, d, k)
    weight: Array  # size of the value model after the activation
    weight_tangent: Array


def _interval(mid: Array, rad: Array) -> tuple[Array, Array]:
    pad = 4 * UNIT * (np.abs(mid) + rad)
    return mid - rad - pad, mid + rad + pad


def _centred(low: Array, high: Array) -> tuple[Array, Array]:
    """Midpoint and an outward radius."""
    mid = (low + high) / 2
    return mid, np.maximum(high - mid, mid - low) + 4 * UNIT * np.maximum(np.abs(low), np.abs(high))


def time_box(low: Array, high: Array) -> Array:
    """Midpoint and outward half-width (S, 2) of time intervals (S,)."""
    return np.stack(_centred(low, high), -1)


def time_features(net: Perceptron, time: Array) -> Taylor:
    """Fused time feature W_t E_t(tau) over times ``time`` = (midpoint, half-width), (S, 2): models (S, width) in xi."""
    centre, half = time[:, 0], time[:, 1]
    scale = 2 / (net.T - net.t0)
    tau0, spread = (scale * (centre - net.t0) - 1)[:, None], (scale * half)[:, None]
    rounding = 16 * UNIT * (2 + scale * (np.abs(centre) + half + abs(net.t0) + abs(net.T)))[:, None]
    m = Taylor(tau0, spread[..., None], np.zeros((*tau0.shape, 1)), rounding)
    for w, b in net.time:
        m = _activated(net.activation, _affine(m, w, b))
    return _affine(m, net.fuse_time, np.zeros(len(net.fuse_time)))


def _affine(m: Taylor, w: Array, b: Array) -> Taylor:
    g, absolute = gamma(w.shape[1]), np.abs(w).T
    c = m.c @ w.T + b
    r = (m.r + g * m.bound) @ absolute * (1 + g) + 2 * UNIT * np.abs(c)
    return Taylor(c, np.swapaxes(np.swapaxes(m.l, -1, -2) @ w.T, -1, -2), _last(m.q, w), r * SLACK)


def _last(q: Array, w: Array) -> Array:
    return np.swapaxes(np.swapaxes(q, -1, -2) @ w.T, -1, -2)


def _activated(name: str, m: Taylor) -> Taylor:
    low, high = _interval(m.c, m.spread)
    jets = JETS[name]
    ends = jets(low), jets(high)
    third = _largest(name, 3, low, high, ends)
    return m.compose(lambda x: jets(x)[:3], third, value_pad(np.abs(m.c)) + PAD)


_Ends = tuple[tuple[Array, ...], tuple[Array, ...]]


def _largest(name: str, order: int, low: Array, high: Array, ends: _Ends) -> Array:
    """Sup of |f^(order)| over [low, high]."""
    a, b = extremes(name, order, low, high, ends[0][order], ends[1][order])
    return np.maximum(np.abs(a), np.abs(b))


def enclose(net: Perceptron, centre: Array, half: Array, features: Taylor) -> Enclosure:
    """Taylor models of the network and of its velocity Jacobian over velocity cells centre +- half, both (B, d).

    ``features`` are the time features of each box's time interval (B, width), see ``time_features``.
    """
    d, n = net.d, net.d + 1
    coefficients = 1 + n + n * (n + 1) // 2
    batch = len(centre)
    # signed: value coefficients, derivative coefficients, interval midpoints of both; last axis = neurons
    signed = np.zeros((batch, (1 + d) * coefficients + 1 + d, d))
    signed[:, 0], signed[:, -1 - d] = centre, centre
    for j in range(d):
        signed[:, 2 + j, j] = half[:, j]  # coefficient of velocity j: variables are (time, velocity)
        signed[:, (1 + j) * coefficients, j] = 1.0
        signed[:, -d + j, j] = 1.0
    # non-negative: remainders of value and derivatives, sizes of both (for rounding), interval radii of both
    positive = np.zeros((batch, 3 * (1 + d), d))
    positive[:, 0] = 4 * UNIT * (np.abs(centre) + half)
    positive[:, 1 + d] = np.abs(centre) + half
    positive[:, 2 + d : 2 + 2 * d] = np.eye(d)
    positive[:, 2 + 2 * d] = half * (1 + 8 * UNIT) + positive[:, 0]

    layers, fuse = net.path(), len(net.velocity)
    locals_: list[_Local] = []
    start = positive[:, 0]
    for k, layer in enumerate(layers):
        signed, positive = _linear(layer, signed, positive, d)
        if k == 0:
            start = positive[:, 0]
        if k == fuse:
            _add_time(signed, positive, features, n)
        if k < len(layers) - 1:
            signed, positive, local = _activate(net.activation, signed, positive, coefficients, d)
            locals_.append(local)
    value_error, jacobian_error = _sweep(layers, locals_, start, features, fuse)
    return _output(signed, positive, value_error, jacobian_error, coefficients, d)


def _linear(layer: Layer, signed: Array, positive: Array, d: int) -> tuple[Array, Array]:
    w, b = layer
    g = gamma(w.shape[1])
    positive = positive.copy()
    positive[:, : 1 + d] += g * positive[:, 1 + d : 2 + 2 * d]
    positive[:, 2 + 2 * d :] += g * np.abs(signed[:, -1 - d :])
    positive = positive @ np.abs(w).T * (1 + g)
    signed = signed @ w.T
    for row, out in ((0, 0), (signed.shape[1] - 1 - d, 2 + 2 * d)):
        signed[:, row] += b
        positive[:, out] += 2 * UNIT * np.abs(signed[:, row])
    return signed, positive


def _add_time(signed: Array, positive: Array, features: Taylor, n: int) -> None:
    """Add the time feature (one variable: the first) to value model and interval, in place."""
    signed[:, 0] += features.c
    signed[:, 1] += features.l[..., 0]
    signed[:, 1 + n] += features.q[..., 0]
    rounding = 4 * UNIT * (np.abs(signed[:, 0]) + features.bound)
    positive[:, 0] += features.r + rounding
    middle = signed.shape[1] - n
    signed[:, middle] += features.c
    positive[:, 2 * n] += features.spread + 4 * UNIT * (np.abs(signed[:, middle]) + features.bound)


def _activate(name: str, signed: Array, positive: Array, coefficients: int, d: int) -> tuple[Array, Array, _Local]:
    n, width = d + 1, signed.shape[-1]
    batch = len(signed)
    # models with the neurons first and the coefficients last would be slow: keep coefficients on axis 1 or 2
    z0, Z, Q = signed[:, 0], signed[:, 1 : 1 + n], signed[:, 1 + n : coefficients]
    tangents = signed[:, coefficients : (1 + d) * coefficients].reshape(batch, d, coefficients, width)
    J0, J1, J2 = tangents[:, :, 0], tangents[:, :, 1 : 1 + n], tangents[:, :, 1 + n :]
    r, s = positive[:, 0], positive[:, 1 : 1 + d]
    low, high = _interval(signed[:, -1 - d], positive[:, 2 + 2 * d])

    sizeZ, sizeQ = np.abs(Z).sum(1) * SLACK, np.abs(Q).sum(1) * SLACK
    model = (sizeZ + sizeQ + r) * SLACK
    pad = 4 * UNIT * (np.abs(z0) + model)
    # the true value lies in both ranges; the model is off by no more than what the interval leaves
    low, high = np.maximum(low, z0 - model - pad), np.minimum(high, z0 + model + pad)
    low, high = np.minimum(low, z0), np.maximum(high, z0)
    reach = np.maximum(high - z0, z0 - low) * SLACK
    e = np.minimum(r, (reach + sizeZ + sizeQ) * SLACK)
    jets = JETS[name]
    f0, f1, f2, f3, _ = jets(z0)
    ends = jets(low), jets(high)
    a2, b2 = extremes(name, 2, low, high, ends[0][2], ends[1][2])
    sup3, sup4 = _largest(name, 3, low, high, ends), _largest(name, 4, low, high, ends)
    excess = sizeQ + e
    square = excess * (2 * sizeZ + excess)
    rounded = 4 * UNIT * np.abs(z0) + 1e-300  # of adding the bias, seen as a shift of the argument
    wobble = np.maximum(b2 - f2, f2 - a2) / 2
    cubic = reach**2 * np.minimum(sup3 * reach / 6, wobble)
    noise = value_pad(z0) + 1.2 * rounded + PAD * reach * (1 + reach)
    noise += 8 * UNIT * (np.abs(f0) + np.abs(f1) * (sizeZ + sizeQ) + np.abs(f2) * sizeZ**2)
    new = (np.abs(f2) / 2 * square + cubic + noise) * SLACK

    ii, jj, off = pairs(n)
    ZZ = Z[:, ii] * Z[:, jj] * (1 + off)[:, None]
    after = np.empty_like(signed)
    after[:, 0] = f0
    np.multiply(f1[:, None], Z, out=after[:, 1 : 1 + n])
    after[:, 1 + n : coefficients] = f1[:, None] * Q + (f2 / 2)[:, None] * ZZ
    # slope model f'(z): p0 + P1 + P2 +- (f2 e + slope_error)
    P1 = f2[:, None] * Z
    P2 = f2[:, None] * Q + (f3 / 2)[:, None] * ZZ
    slope_error = np.abs(f3) / 2 * square + sup4 / 6 * reach**3 + PAD * (1 + reach) ** 2 + rounded
    size1, size2 = np.abs(P1).sum(1) * SLACK, np.abs(P2).sum(1) * SLACK
    sizeJ0, sizeJ1, sizeJ2 = np.abs(J0), np.abs(J1).sum(2) * SLACK, np.abs(J2).sum(2) * SLACK
    modelled = sizeJ0 + sizeJ1 + sizeJ2
    t_mid, t_rad = signed[:, -d:], positive[:, 3 + 2 * d :]
    t_low, t_high = _interval(t_mid, t_rad)
    # the interval of the derivative limits how far the model of it can be off
    s = np.minimum(s, np.maximum(np.abs(t_low), np.abs(t_high)) + modelled * SLACK)
    s = np.minimum(s, np.maximum(t_high - J0, J0 - t_low) * SLACK + sizeJ1 + sizeJ2)
    largest = np.minimum(modelled + s, np.maximum(np.abs(t_low), np.abs(t_high))) * SLACK
    s1, s2, e_ = size1[:, None], size2[:, None], e[:, None]
    cut = s1 * sizeJ2 + s2 * sizeJ1 + s2 * sizeJ2
    off_centre = np.minimum(sizeJ1 + sizeJ2 + s, largest + sizeJ0)
    new_tangent = (s1 + s2) * s + np.abs(f2)[:, None] * e_ * off_centre + slope_error[:, None] * largest + cut
    new_tangent += 16 * UNIT * (np.abs(f1)[:, None] + s1 + s2) * modelled
    new_tangent *= SLACK

    out = after[:, coefficients : (1 + d) * coefficients].reshape(batch, d, coefficients, width)
    p0 = f1[:, None, None]
    np.multiply(p0[:, 0], J0, out=out[:, :, 0])
    np.multiply(p0, J1, out=out[:, :, 1 : 1 + n])
    out[:, :, 1 : 1 + n] += P1[:, None] * J0[:, :, None]
    cross = P1[:, None, ii] * J1[:, :, jj] + off[:, None] * (P1[:, None, jj] * J1[:, :, ii])
    out[:, :, 1 + n :] = p0 * J2 + P2[:, None] * J0[:, :, None] + cross
    after[:, coefficients : (1 + d) * coefficients] = out.reshape(batch, d * coefficients, width)

    grown = np.empty_like(positive)
    bend = f2[:, None] * J0
    grown[:, 0] = (np.abs(f1) * e + new) * SLACK
    grown[:, 1 : 1 + d] = (np.abs(f1)[:, None] * s + np.abs(bend) * e_ + new_tangent) * SLACK
    grown[:, 1 + d] = (np.abs(after[:, :coefficients]).sum(1)) * SLACK
    grown[:, 2 + d : 2 + 2 * d] = np.abs(out).sum(2) * SLACK
    value_low, value_high = extremes(name, 0, low, high, ends[0][0], ends[1][0])
    after[:, -1 - d], grown[:, 2 + 2 * d] = _centred(value_low, value_high)
    grown[:, 2 + 2 * d] += 2 * rounded
    p_low, p_high = extremes(name, 1, low, high, ends[0][1], ends[1][1])
    p_low, p_high = (p_low - rounded)[:, None], (p_high + rounded)[:, None]
    products = (p_low * t_low, p_low * t_high, p_high * t_low, p_high * t_high)
    lowest, highest = np.minimum.reduce(products), np.maximum.reduce(products)
    after[:, -d:], grown[:, 3 + 2 * d :] = _centred(lowest, highest)
    local = _Local(f1, bend, new, new_tangent, grown[:, 1 + d], grown[:, 2 + d : 2 + 2 * d])
    return after, grown, local


def _sweep(
    layers: tuple[Layer, ...], locals_: list[_Local], start: Array, features: Taylor, fuse: int
) -> tuple[Array, Array]:
    """Error of the value (B, out) and of the Jacobian (B, out, d), by centre maps from every layer to the output.

    ``start`` is the rounding error of the first linear layer; the features' remainder enters where they are added.
    """
    batch, d, _ = locals_[0].bend.shape
    out = len(layers[-1][0])
    # rows of M: sensitivity of the outputs; rows (i, j) of MV: sensitivity of dJ_ij to the value at this layer
    rows = out + out * d
    M = np.zeros((batch, rows, out))
    M[:, :out] = np.eye(out)
    E = np.zeros_like(M)
    value, jacobian = np.zeros((batch, out)), np.zeros((batch, out, d))
    for k in range(len(layers) - 1, 0, -1):
        w, local = layers[k][0], locals_[k - 1]
        g = gamma(w.shape[1] + w.shape[0])
        H = (E + g * np.abs(M)) @ np.abs(w) * (1 + g)
        A = M @ w
        reach = np.abs(A) + H
        value += np.einsum("bik,bk->bi", reach[:, :out], local.new) + np.einsum("bik,bk->bi", H[:, :out], local.weight)
        jacobian += np.einsum("bik,bjk->bij", reach[:, :out], local.new_tangent)
        jacobian += np.einsum("bik,bjk->bij", H[:, :out], local.weight_tangent)
        through = np.einsum("bik,bk->bi", reach[:, out:], local.new) + np.einsum("bik,bk->bi", H[:, out:], local.weight)
        jacobian += through.reshape(batch, out, d)
        p0, bend = local.p0[:, None], local.bend[:, None]
        M = A * p0
        E = H * np.abs(p0) + 4 * UNIT * np.abs(M)
        turn = A[:, :out, None] * bend
        M[:, out:] += turn.reshape(batch, rows - out, -1)
        turn_error = H[:, :out, None] * np.abs(bend) + 8 * UNIT * np.abs(turn)
        E[:, out:] += turn_error.reshape(batch, rows - out, -1) + 4 * UNIT * np.abs(M[:, out:])
        if k - 1 in (0, fuse):
            late = np.einsum("bik,bk->bi", np.abs(M) + E, start if k == 1 else features.r)
            value += late[:, :out]
            jacobian += late[:, out:].reshape(batch, out, d)
    return value * (1 + 1e-9), jacobian * (1 + 1e-9)


def _output(
    signed: Array, positive: Array, value_error: Array, jacobian_error: Array, coefficients: int, d: int
) -> Enclosure:
    n = d + 1
    last = 2 * UNIT * np.abs(signed[:, 0])
    value = _model(signed[:, :coefficients], np.minimum(positive[:, 0], value_error + last), n)
    value = _narrower(value, signed[:, -1 - d], positive[:, 2 + 2 * d])
    batch, width = value.c.shape
    tangents = signed[:, coefficients : (1 + d) * coefficients].reshape(batch, d, coefficients, width)
    tangents = np.moveaxis(tangents, 3, 1)  # (B, out, d, coefficients)
    forward = np.swapaxes(positive[:, 1 : 1 + d], 1, 2)
    jacobian = Taylor(
        tangents[..., 0], tangents[..., 1 : 1 + n], tangents[..., 1 + n :], np.minimum(forward, jacobian_error)
    )
    middle, radius = np.swapaxes(signed[:, -d:], 1, 2), np.swapaxes(positive[:, 3 + 2 * d :], 1, 2)
    return Enclosure(value, _narrower(jacobian, middle, radius))


def _model(rows: Array, remainder: Array, n: int) -> Taylor:
    rows = np.moveaxis(rows, 1, -1)
    return Taylor(rows[..., 0], rows[..., 1 : 1 + n], rows[..., 1 + n :], remainder)


def _narrower(m: Taylor, middle: Array, radius: Array) -> Taylor:
    """Entry by entry the model, or the plain interval where it is narrower."""
    plain = ~(m.spread < radius)
    wide = plain[..., None]
    return Taylor(
        np.where(plain, middle, m.c),
        np.where(wide, 0.0, m.l),
        np.where(wide, 0.0, m.q),
        np.where(plain, radius, m.r),
    )
