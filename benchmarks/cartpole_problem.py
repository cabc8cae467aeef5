"""The cart-pole swing-up that optimal control is timed on: numbers only, for us and for peers alike.

State (x, angle, their velocities), angle 0 hanging; a force on the cart. Semi-implicit Euler. The cost of a step is
`DT / 2` times the weighted squares of the distance from upright at 0 and of the force, the terminal cost one half of
its own weighted squares: quadratic, so that no library needs a function of its own.
"""

import math

CART, POLE, LENGTH, GRAVITY = 1.0, 0.3, 0.5, 9.81  # kg, kg, m from the hinge to the pole's centre, m/s^2
INERTIA = POLE * LENGTH**2 / 3  # of the pole about its centre, kg m^2
DT, HORIZON = 0.03, 100
GOAL = (0.0, math.pi, 0.0, 0.0)
RUNNING, FORCE = (0.1, 1.0, 0.01, 0.01), 0.01  # weights
TERMINAL = (100.0, 100.0, 20.0, 20.0)
TOLERANCE, MAX_ITERATIONS = 1e-7, 300  # converged: an iteration gains less than this part of 1 + cost
MPC_HORIZON = 50
