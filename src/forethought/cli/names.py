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
)
"""Our own tasks; `forethought.envs.make` knows them too, and a test holds the two together."""
