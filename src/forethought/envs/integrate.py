"""Fixed-step integration of ordinary differential equations."""

from collections.abc import Callable

from jaxtyping import Array, Float


def rk4(derivative: Callable[[Array], Array], y: Float[Array, " n"], dt: float) -> Float[Array, " n"]:
    """`y` one step of `dt` later, by the classical Runge-Kutta method."""
    k1 = derivative(y)
    k2 = derivative(y + dt / 2 * k1)
    k3 = derivative(y + dt / 2 * k2)
    k4 = derivative(y + dt * k3)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
