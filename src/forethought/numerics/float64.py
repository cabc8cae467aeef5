"""Double precision inside a program of single precision, where the global switch is left as it is."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of PyTrees of arrays, computed in float64 and answered in float32; also under jit, vmap and grad.

    JAX batches and transposes a traced program wherever it is transformed, so outside of any scope in which it was
    traced, and would then truncate it. Here both go through the scope again. A gradient computes the values anew.
    """

    @jax.custom_vjp
    def wrapped(*args: Any) -> Any:
        return _scoped(function)(*args)

    def backward(args: Any, cotangent: Any) -> Any:
        def pull(cotangent: Any, *args: Any) -> Any:
            return jax.vjp(function, *args)[1](cotangent)

        found = _scoped(pull)(cotangent, *args)
        with jax.enable_x64(True):
            return jax.tree.map(lambda x, arg: x.astype(arg.dtype) if _is_float(arg) else x, found, args)

    wrapped.defvjp(lambda *args: (_scoped(function)(*args), args), backward)
    return wrapped


def in_float64_forwards(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `in_float64` of `(constants, *args)`, but for derivatives taken forwards (jvp, jacfwd), of any order.

    `constants` are taken as they are; there is no reverse mode.
    """

    @jax.custom_jvp
    def wrapped(constants: Any, *args: Any) -> Any:
        return _scoped(function)(constants, *args)

    def push(constants: Any, args: Any, tangents: Any) -> Any:
        return jax.jvp(lambda *args: function(constants, *args), args, tangents)[1]

    def rule(primals: Any, tangents: Any) -> Any:
        constants, *args = primals
        some = lambda t, x: jnp.zeros_like(x) if isinstance(t, SymbolicZero) else t
        is_zero = lambda t: isinstance(t, SymbolicZero)
        filled = tuple(jax.tree.map(some, t, x, is_leaf=is_zero) for t, x in zip(tangents[1:], args))
        # Apart from one another: jacfwd batches the tangent alone.
        return wrapped(constants, *args), in_float64_forwards(push)(constants, tuple(args), filled)

    wrapped.defjvp(rule, symbolic_zeros=True)
    return wrapped


def _scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in float64, also where it is vmapped after it was traced."""

    @custom_vmap
    def scoped(*args: Any) -> Any:
        with jax.enable_x64(True):
            return lowered(function(*raised(args)))

    @scoped.def_vmap
    def rule(_: int, batched: Any, *args: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda yes: 0 if yes else None, batched)
        out = _scoped(jax.vmap(function, in_axes=tuple(axes)))(*args)
        return out, jax.tree.map(lambda _: True, out)

    return scoped


def raised(tree: Any) -> Any:
    """`tree` with its floating-point arrays in float64; to be called where these are enabled."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64) if _is_float(x) else x, tree)


def lowered(tree: Any) -> Any:
    """`tree` with its floating-point arrays in float32."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) if _is_float(x) else x, tree)


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)
