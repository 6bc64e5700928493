"""Hold the theory against itself: one folder per paper, one file per checked statement with an attribute ``CHECK``.

``python -m paper_checks`` runs them all; a verdict that differs from the recorded one exits with 10.
"""

OWNER = "landau-certify"
