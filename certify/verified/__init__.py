"""Rounding-safe bounds of networks over boxes: Taylor models of value and Jacobian, branch and bound over a ball.

``activations``: suprema of SiLU's and tanh's derivatives over intervals. ``taylor``: arithmetic of second-order Taylor
models. ``network``: a network and its velocity Jacobian over boxes. ``fields``: exact score, score error and drift.
``product``: bounds from norms of the weights, valid on all of R^d. ``search``: subdivision of the ball.

``score``: all of it for a score network. Trust: IEEE double arithmetic rounded to nearest, a matrix product that sums
each entry's terms in any order (with or without fused multiply-add, error gamma_n |W||x|), and exp, tanh of numpy and
scipy within a few units in the last place.
The function bounded is the real function of the stored weights, not its evaluation in floating point.
"""
