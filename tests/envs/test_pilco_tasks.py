"""The scenarios of PILCO: the rod's energy, and measurements that do not touch what they measure."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from forethought.envs.measured import Measured
from forethought.envs.pilco_tasks import FRICTION, GRAVITY, PilcoPendulum, pilco_cartpole, pilco_pendulum
from forethought.envs.task import TaskState


def test_the_rod_gains_the_work_of_its_motor_less_friction():
    physics, torque = jnp.array([0.3, 0.5]), 1.7
    energy = lambda p: float(p[1]) ** 2 / 6 - GRAVITY / 2 * np.cos(float(p[0]))
    after = PilcoPendulum().advance(physics, jnp.array([torque]))
    swept, mean_speed = float(after[0] - physics[0]), float(after[0] - physics[0]) / 0.1
    work = torque * swept - FRICTION * mean_speed * swept
    assert energy(after) - energy(physics) == pytest.approx(work, rel=0.01)


@pytest.mark.parametrize(("make", "noise"), [(pilco_pendulum, (0.01, 0.1)), (pilco_cartpole, (0.01,) * 4)])
def test_measurements_have_their_noise_and_leave_the_physics_alone(make, noise):
    env = make()
    size = len(noise)
    state = TaskState(jnp.concatenate([jnp.linspace(0.1, 0.4, size), jnp.ones(size)]), jnp.zeros((), jnp.int32))
    step = jax.jit(jax.vmap(lambda k: env.step(state, jnp.array([1.0]), key=k)[:2]))
    after, obs = step(jr.split(jr.key(0), 4000))
    true = env.task.advance(state.physics[:size], jnp.array([1.0]))
    np.testing.assert_allclose(after.physics[:, :size], jnp.broadcast_to(true, (4000, size)), atol=1e-5)
    np.testing.assert_allclose((obs - true).std(0), noise, rtol=0.05)
    np.testing.assert_allclose(env.observe(env.physics_from(obs[0])), obs[0], rtol=1e-6)


def test_noise_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one for each of the 2 observations of pilco-pendulum"):
        Measured(PilcoPendulum(), (0.1,), "short")
