"""Names that can be listed without importing JAX."""

OWN_ENVS = (
    "pets-cartpole",
    "cartpole-swingup",
    "pendulum",
    "pendulum-wind",
    "acrobot",
    "mountain-car",
    "mountain-car-continuous",
    "point-mass",
    "catch",
    "gridworld",
    "tic-tac-toe",
    "connect-four",
)
"""Our own tasks and games; `forethought.envs.make` knows them too, and a test holds the two together."""
