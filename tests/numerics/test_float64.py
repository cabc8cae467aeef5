"""Double precision in programs of single precision, whatever is done to them from outside."""

import jax
import jax.numpy as jnp
import numpy as np

from forethought.numerics.float64 import in_float64


def hilbert(x, scale):
    """Loses all digits in float32: solves with a Hilbert matrix."""
    n = len(x)
    matrix = 1.0 / (jnp.arange(n)[:, None] + jnp.arange(n) + 1.0) + 1e-9 * jnp.eye(n)
    return jnp.linalg.solve(matrix, x * scale["by"]) @ jnp.tanh(x)


X = np.linspace(0.5, 1.0, 6, dtype=np.float32)
SCALE = {"by": np.float32(1e-3)}


def test_values_and_gradients_keep_their_digits_under_jit_vmap_scan_and_grad():
    with jax.enable_x64(True):
        wanted, slope = jax.device_get(jax.value_and_grad(hilbert)(jnp.asarray(X, jnp.float64), {"by": 1e-3}))
    exact = in_float64(hilbert)

    def looped(x):
        return jax.lax.scan(lambda c, _: (c, exact(x + 0 * c, SCALE)), jnp.zeros(()), None, length=2)[1].mean()

    rows = jnp.stack([X, 2 * X])
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(looped)))(rows)
    assert values.dtype == slopes.dtype == jnp.float32
    np.testing.assert_allclose(values[0], wanted, rtol=1e-6)
    np.testing.assert_allclose(slopes[0], slope, rtol=1e-5)
    assert abs(float(hilbert(jnp.asarray(X), SCALE)) / wanted - 1) > 1e-3, "float32 would have done"
    assert jnp.zeros(()).dtype == jnp.float32
