"""What several tests of diagnostics look at."""

import pytest
from examined import look
from linear_world import NOISE, TRUE, Linear


@pytest.fixture(scope="session")
def right():
    return look(Linear(TRUE, NOISE))


@pytest.fixture(scope="session")
def certain():
    return look(Linear(TRUE, 0.0, particles=1), min_particles=1)
