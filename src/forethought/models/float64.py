"""Double precision inside a program of single precision, where the global switch is left as it is."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of PyTrees of arrays, computed in float64 and answered in float32; also under jit, vmap and grad.

    Gradients too are computed in float64: without this, transposing the function would be traced outside the scope.
    """

    @jax.custom_vjp
    def wrapped(*args: Any) -> Any:
        with jax.enable_x64(True):
            return lowered(function(*raised(args)))

    def forward(*args: Any) -> tuple[Any, Any]:
        with jax.enable_x64(True):
            out, pull = jax.vjp(function, *raised(args))
            return lowered(out), (pull, args)

    def backward(kept: Any, cotangent: Any) -> Any:
        pull, args = kept
        with jax.enable_x64(True):
            found = pull(raised(cotangent))
            return jax.tree.map(lambda x, arg: x.astype(arg.dtype) if _is_float(arg) else x, found, args)

    wrapped.defvjp(forward, backward)
    return wrapped


def raised(tree: Any) -> Any:
    """`tree` with its floating-point arrays in float64; to be called where these are enabled."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if _is_float(x) else x, tree)


def lowered(tree: Any) -> Any:
    """`tree` with its floating-point arrays in float32."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) if _is_float(x) else x, tree)


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)
