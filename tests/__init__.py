"""Tests; a package so that ``tests.strategies`` is ours whatever else is installed."""
