"""The paper this repository certifies: PINN-PM for the homogeneous Landau equation, and THEORY section 6.

One file per statement. ``finding_*`` are what an author should know, ``stability_*`` the certificates of THEORY 6;
every other file covers the numbered statements its ``source`` names, and each number has exactly one of them.
"""

TITLE = "A Physics-Informed, Global-in-Time Neural Particle Method for the Landau Equation (arXiv 2603.10874)"
NUMBERS = (
    "(2.2), (2.4)-(2.12), (3.1)-(3.11), (4.1)-(4.19), (A.1)-(A.4), "
    "Lemmas 1-3, Theorems 1-6, Assumptions 1-3, Remarks 1-2"
)
