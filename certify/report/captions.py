"""Under every figure: what it shows, what is good, what is bad, what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caption:
    """Four short texts, and what the figure needs (said where it is not available)."""

    title: str
    shows: str
    good: str
    bad: str
    todo: str
    needs: str


EVALUATED = (
    "Generated from the formula that gives the numbers; the bound is the sum of the terms. Under an integral an "
    "ingredient is taken at the variable of that integral, elsewhere at t. The symbols are those of the table below."
)

CERTIFICATE = Caption(
    "Bound and measured error over time",
    "The certificate (blue), the measured error between its lower and upper value (green), and the trivial bound "
    "of a flow that does not move, or what mean and energy allow (grey, dashed). Orange: a hypothesis fails, nothing "
    "is claimed there.",
    "Blue far below grey and close above green.",
    "Blue above grey is vacuous. Green entirely above blue is a contradiction: code, assumption or theorem is wrong.",
    "If blue is loose, look at the terms and the weakest ingredient below; if it is void, see the failed hypothesis.",
    "a bound, a trivial bound or a measured error with finite values",
)
TERMS = Caption(
    "Terms of the bound over time",
    "The named terms whose sum is the bound, on a logarithmic axis; terms below 0.01 % of it are left out.",
    "The term you can train (defect, residual, score error) dominates.",
    "A constant of the problem dominates: more training cannot help.",
    "Work on the highest curve; the others do not matter by comparison.",
    "at least two terms that are not zero",
)
RESIDUAL = Caption(
    "Physics residual over time",
    "Root mean square over the particles of what the learned flow leaves unsolved in its own equation, with the "
    "learned score.",
    "Flat and small compared with the size of the drift.",
    "Peaks in time: the flow was not trained there, or cannot represent what happens there.",
    "Put more collocation times where the curve peaks. A small residual alone certifies nothing: the score may "
    "be wrong.",
    "a learned score (the residual is formed with it)",
)
RESIDUAL_MAP = Caption(
    "Flow defect over velocity space",
    "Magnitude of the flow defect at the final time, by the velocity v a particle started with, in the plane of the "
    "first two axes through the mean; logarithmic colours.",
    "Even and dark.",
    "A bright core or rim: the flow is wrong where density is high (core) or where there are few samples (rim).",
    "Sample training points where it is bright; a ring or a dot at the centre often is a degenerate point of the "
    "exact flow.",
    "derivatives of the learned flow (jets)",
)
DEFECT = Caption(
    "Flow defect over time",
    "The defect (blue) that enters the stability certificates, its residual part and its score part, and the "
    "quadrature error "
    "estimate (grey, dashed). The parts add as vectors, so either may exceed the whole.",
    "Blue small, and grey far below it.",
    "Grey close to blue: the number is not resolved. A spike near the start: the core of the initial density.",
    "If the residual part dominates train the flow longer; if the score part does, the score. If grey is close, "
    "use more nodes.",
    "derivatives of the learned flow (jets)",
)
BRACKET = Caption(
    "Two-sided interval over time",
    "The smallest bound that is not void (blue), the computable lower bound (orange), and the measured error (green) "
    "where a reference exists. Whether an end uses the exact solution stands in the table above.",
    "A narrow band: the error is known without knowing the solution.",
    "A wide band says little. The green curves outside the band, or orange above blue, is a contradiction.",
    "A loose upper end: see the terms of its certificate. A low lower end: the error hides from the functions tested.",
    "a certificate of this distance, and a lower bound",
)
LIPSCHITZ = Caption(
    "Lipschitz and one-sided constants of what was learned",
    "For every constant the best bound that covers the whole ball (solid) and the largest value seen (dashed). The "
    "truth lies in the band between them.",
    "Narrow bands, and a log-norm far below the Lipschitz constants.",
    "A band of several decades: the verified bound is loose, and every certificate that exponentiates it explodes.",
    "More boxes, narrower or spectrally normalised layers, or the certificates that need no Lipschitz constant.",
    "a learned score with known layers",
)
DRIFT = Caption(
    "Exact drift against Lemma 1's product",
    "Lemma 1 bounds the Lipschitz constant of the exact drift by a product of constants (orange, dashed). The constant "
    "itself (blue) and its log-norm (green), which is all a trajectory error needs, stand below it.",
    "Orange close to blue.",
    "Orange decades above: Theorems 1, 2 and 5 exponentiate the integral of the orange curve.",
    "Use the certificates with the log-norm; a smaller ball lowers the product as long as it holds the particles.",
    "the exact solution",
)
BANDWIDTH = Caption(
    "Theorem 6 against the bandwidth",
    "The bound of Theorem 6 at the last time for every bandwidth h of the sweep; the dotted line marks the h used.",
    "The dotted line at the lowest point.",
    "A curve that stays high: the bias grows to the right, noise and trajectory error to the left.",
    "More particles lower the left branch slowly, a smaller trajectory error at once. The learned density itself needs "
    "no kernel: see the stability certificates.",
    "the exact density (its curvature)",
)
W1 = Caption(
    "Wasserstein-1 distance of samples, with its noise floor",
    "Distance between learned samples and exact ones, or those of the reference (between dual and primal value), the "
    "range two sets of such samples show "
    "among themselves (noise floor), and the coupled estimate that starts both from the same points.",
    "The sample distance inside the floor: no difference can be seen at this sample size. The coupled curve "
    "shows the true size.",
    "The sample distance above the floor: the error exceeds the sampling noise.",
    "Judge by the coupled curve; the sample distance is mostly noise. More samples lower the floor slowly.",
    "an exact solution or a reference to draw samples from",
)
EXCESS = Caption(
    "Excess risk of the learned score",
    "Mean squared distance of the learned score from the score of the learned density (computable always), from the "
    "exact score (needs the exact solution), by Fisher information, and from held-out particles.",
    "Both small and close to each other.",
    "First small and second large: score and flow agree with each other but not with the equation.",
    "Train the score where the curve is high. Close to the start a singular initial density makes both large.",
    "a learned score and derivatives of the learned flow",
)
SLICES = Caption(
    "Density slices",
    "The learned density (solid) and the exact or reference density (black, dashed) on the line through the mean along "
    "the first axis, at several times. The learned one is f₀(v)/det J at the v that the flow takes to the point, found "
    "by Newton's method; orange where none was found.",
    "The curves cannot be told apart.",
    "Shifted peak, wrong height, or oscillation; orange where there is mass: the flow folds or does not reach there.",
    "A picture cannot certify: trust the bounds, use this to see where the error sits.",
    "derivatives of the learned flow (jets)",
)
MOMENTS = Caption(
    "Momentum, energy and entropy",
    "Energy relative to its conserved value, distance of the mean from the conserved one, entropy and the rate at "
    "which the drift of the learned density changes it, beside the exact or reference ones where those are known.",
    "Energy and mean flat at zero, entropy decreasing (on the dashed curve where there is one).",
    "Drift of a conserved quantity, or entropy that increases: the flow violates the physics. The table of "
    "conservation and entropy has the numbers with their quadrature errors.",
    "Add the drifting quantity to the loss, or use a flow that conserves it by construction.",
    "moments of the learned density",
)
STEIN = Caption(
    "Stein identities of the learned density",
    "Largest entry of the two identities every smooth density satisfies; a necessary test of the pushforward score.",
    "Far below the dashed tolerance.",
    "Above the tolerance: a jump, a fold or an unresolved core; the stability certificates are void from there on.",
    "More quadrature nodes near the core; if that does not help, the flow folds or the initial density jumps.",
    "derivatives of the learned flow (jets)",
)
