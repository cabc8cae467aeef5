"""Examinations that the tests of figures and of the verdict look at."""

import jax.random as jr
from linear_world import SPEC, linear_episodes

from forethought.diagnostics.examination import Examination, examine

HORIZON = 10


def look(model, **more) -> Examination:
    """On 500 starts in the linear world."""
    return examine(model, linear_episodes(), SPEC, **{"horizon": HORIZON, "key": jr.key(1), "max_starts": 500, **more})
