"""Training on from the agent of another run."""

from typing import Any

import equinox as eqx
import jax
import jax.random as jr

from .errors import UserError
from .setup import Setup


def state_of(other: Any, setup: Setup) -> Any:
    """The last agent state of `other`, a run, for the run that `setup` begins. Raises UserError if it does not fit."""
    path = other.path
    if other.setup.run.num_seeds > 1 or setup.run.num_seeds > 1:
        raise UserError("fine-tuning takes one seed from a run of one seed; leave out num_seeds")
    ours, theirs = setup.env.spec, other.setup.env.spec
    if (ours.obs_dim, ours.action) != (theirs.obs_dim, theirs.action):
        raise UserError(
            f"{path} was trained on {other.setup.env_name} with other spaces ({theirs.obs_dim} observations, "
            f"{theirs.action}); {setup.env_name} has {ours.obs_dim} and {ours.action}"
        )
    state = other.agent_state()
    wanted = eqx.filter_eval_shape(lambda: setup.agent.init(key=jr.key(0)))
    shape = lambda tree: [
        (x.shape, x.dtype)
        for x in jax.tree.leaves(eqx.filter(tree, lambda x: isinstance(x, jax.ShapeDtypeStruct | jax.Array)))
    ]
    if shape(wanted) != shape(state):
        raise UserError(
            f"{path} has networks of other sizes; start with the same model settings as it was trained with"
        )
    # The new agent's own settings (learning rate, given functions) around the old one's arrays.
    fresh = setup.agent.init(key=jr.key(0))
    arrays = iter(jax.tree.leaves(eqx.filter(state, eqx.is_array)))
    return jax.tree.map(lambda x: next(arrays) if eqx.is_array(x) else x, fresh)
