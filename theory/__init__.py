"""What is true: equation, problems, exact solutions, theorems. numpy, scipy and sympy only."""

OWNER = "landau-certify"
