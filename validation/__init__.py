"""Experiments: certificates against measured errors."""

OWNER = "landau-certify"
