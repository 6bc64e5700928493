"""The relative-entropy estimate of score-based particle methods (Huang and Wang), as restated in the PINN-PM paper.

Also the smallest example of a second paper: a folder with ``TITLE`` and files with ``CHECK``; ``NUMBERS`` may be empty.
"""

TITLE = "A score-based particle method for the homogeneous Landau equation: the KL estimate (Huang and Wang, 2025)"
NUMBERS = ""
