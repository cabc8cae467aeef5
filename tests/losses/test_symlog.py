"""The symmetric logarithm."""

import jax
import jax.numpy as jnp
import numpy as np

from forethought.losses.symlog import symexp, symlog

NUMBERS = jnp.array([-1e6, -300.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 300.0, 1e6])


def test_symexp_undoes_symlog_over_twelve_decades():
    np.testing.assert_allclose(symexp(symlog(NUMBERS)), NUMBERS, rtol=1e-5)


def test_symlog_is_odd_and_has_slope_one_at_zero():
    np.testing.assert_array_equal(symlog(-NUMBERS), -symlog(NUMBERS))
    np.testing.assert_allclose(symlog(jnp.e - 1.0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(symlog)(1e-4), 1.0, atol=2e-4)
