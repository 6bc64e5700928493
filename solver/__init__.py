"""Make a trained run: networks, trainers, model files."""

OWNER = "landau-certify"
