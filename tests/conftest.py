"""Hypothesis profiles: dev (quick, random), ci (deterministic), deep (long); HYPOTHESIS_PROFILE selects one."""

import os

from hypothesis import settings

settings.register_profile("dev", max_examples=20, deadline=None, print_blob=True)
settings.register_profile("ci", max_examples=100, derandomize=True, deadline=None, print_blob=True)
settings.register_profile("deep", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
