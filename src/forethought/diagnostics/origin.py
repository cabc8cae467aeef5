"""Which model a recalibration is of, so that it is used on no other."""

import hashlib
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..core import AbstractModel
from ..errors import UserError
from .calibration import Recalibration


def origin(model: AbstractModel, *, source: str, seed: int | None) -> dict[str, str]:
    """Where a model is from: run (or file), seed, and a digest of the model's numbers, which tells checkpoints apart.

    The digest alone decides whether two are the same: a folder may have been moved.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)):
        array = np.asarray(jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    seeded = {} if seed is None else {"seed": str(seed)}
    return {"source": source, **seeded, "model": digest.hexdigest()[:12]}


def load_for(wanted: dict[str, str], file: str | Path, *, again: str) -> Recalibration:
    """The recalibration in `file`, which must be of the model that `wanted` (an `origin`) names; `again` remakes it.

    Raises UserError if the file is missing, damaged, or of another model.
    """
    if not Path(file).is_file():
        raise UserError(f"{file} is not there; make it with: {again}")
    made = Recalibration.load(file)
    of = dict(made.origin)
    if of.get("model") != wanted["model"]:
        got = f"is of {_named(of)}" if "model" in of else "does not say which model it is of"
        raise UserError(f"{file} {got}, wanted {_named(wanted)}; make it with: {again}")
    return made


def _named(of: dict[str, str]) -> str:
    seed = f", seed {of['seed']}" if "seed" in of else ""
    return f"{of.get('source', 'an unknown run')}{seed}, model {of['model']}"
