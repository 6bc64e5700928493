"""The sizes of the experiments, as data."""

from __future__ import annotations

import numpy as np
import pytest

from validation.plan import METHODS, SETUPS, size


@pytest.mark.parametrize("problem", SETUPS)
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("paper", [False, True])
def test_every_snapshot_is_a_whole_number_of_steps_after_the_start(problem: str, quick: bool, paper: bool) -> None:
    setup = SETUPS[problem]
    elapsed = np.array(setup.times) - setup.times[0]
    for method in METHODS:
        steps = elapsed / (setup.step * size(problem, method, quick=quick, paper=paper).slower)
        assert np.abs(steps - np.round(steps)).max() < 1e-9


@pytest.mark.parametrize("problem", SETUPS)
def test_the_papers_particle_counts_are_those_of_its_table(problem: str) -> None:
    table = {"bkw2d": 22_500, "bkw3d": 64_000, "anisotropic2d": 14_400, "rosenbluth3d": 27_000}
    table |= {"gaussian_mixture3d": 64_000, "truncated2d": 14_400}
    assert [size(problem, m, paper=True).particles for m in ("sbp", "blob")] == [table[problem]] * 2


def test_bkw_has_the_papers_particle_counts_in_the_full_run() -> None:
    for problem in ("bkw2d", "bkw3d"):
        for method in ("sbp", "blob"):
            assert size(problem, method) == size(problem, method) != size(problem, method, quick=True)
            assert size(problem, method).particles == SETUPS[problem].particles
