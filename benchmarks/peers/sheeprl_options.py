"""What sheeprl's Dreamer v3 is told, in the words of its command line. Imports neither sheeprl nor JAX."""

from .. import work

FIXED = (
    "algo.replay_context=0",  # sequences start from zeros, as ours do
    "float32_matmul_precision=highest",  # as ours; by default products may lose digits where the processor allows it
)


def overrides(sizes: work.Dreaming) -> list[str]:
    """Of its configuration, in the words of its command line."""
    c = sizes
    model = {
        "stochastic_size": c.latents,
        "discrete_size": c.classes,
        "recurrent_model.recurrent_state_size": c.deter,
        "recurrent_model.hidden_size": c.hidden,
        "recurrent_model.blocks": c.blocks,
        "transition_model.layers": c.prior_layers,
        "encoder.mlp_layers": c.layers,
        "observation_model.mlp_layers": c.layers,
    }
    algo = {
        **{f"world_model.{name}": value for name, value in model.items()},
        "dense_units": c.units,
        "cnn_channels_multiplier": c.depth,
        "actor.mlp_layers": c.behaviour_layers,
        "critic.mlp_layers": c.behaviour_layers,
        "horizon": c.imagination,
        "per_rank_batch_size": c.batch,
        "per_rank_sequence_length": c.length,
        "cnn_keys.encoder": "[rgb]" if c.image else "[]",
        "mlp_keys.encoder": "[state]" if c.obs else "[]",
    }
    return ["exp=dreamer_v3_5", *(f"algo.{name}={value}" for name, value in algo.items()), *FIXED]


def loop(sizes: work.Dreaming, env: str, rows: str, folder: str, *, steps: int, random: int, ratio: float) -> list[str]:
    """Its main loop on a Gymnasium task: `steps` environment steps, updates after the first `random`, `ratio` updates
    per step. Rows of episodes go to the file `rows`, all else into `folder`.
    """
    return [
        "env=gym",
        f"env.id={env}",
        "env.wrapper._target_=benchmarks.peers.sheeprl_dreamer.task",
        "~env.wrapper.render_mode",
        f"+env.wrapper.rows={rows}",
        "env.num_envs=1",
        "env.sync_env=True",
        "env.capture_video=False",
        f"algo.total_steps={steps}",
        f"algo.learning_starts={random}",
        f"algo.replay_ratio={ratio}",
        "algo.run_test=False",
        f"buffer.size={steps}",
        "buffer.memmap=False",
        "buffer.checkpoint=False",
        "checkpoint.every=0",
        "checkpoint.save_last=False",
        f"log_root={folder}",
        f"hydra.run.dir={folder}",
        *overrides(sizes),
    ]
