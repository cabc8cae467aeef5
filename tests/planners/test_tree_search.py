"""Claims about tree search: on true rules, on learned models, for one player and for two."""

import dataclasses
import json
import pathlib
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from plain_games import TIC_TAC_TOE, reachable
from planner_toys import Cliff, Lock, Poisoned, belief_at, lock_optimum
from tiny import updated

from forethought.agents.planning import PlanningAgent
from forethought.core import AbstractModel
from forethought.envs.catch import Catch
from forethought.envs.games.tic_tac_toe import TicTacToe
from forethought.errors import UserError
from forethought.models.simulator import Simulator
from forethought.planners import PUCT, UCB, Gumbel, TreeSearch, rollout, tree_rules
from forethought.planners.choice import make_planner
from forethought.planners.random_play import favourites
from forethought.presets.parts import EnsembleConfig, PlannerConfig
from forethought.presets.pets import PETSConfig
from forethought.replay.uniform import UniformReplay
from forethought.types import Box, Discrete, EnvSpec, Given, Moves, Prediction, Transition, never_terminates

GAME = TicTacToe()
MODEL = Simulator(GAME)
ADVERSARIAL = PUCT(value_range=(-1.0, 1.0))
RULES = [ADVERSARIAL, Gumbel(), UCB()]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
KEY = jr.key(5)
FILE = pathlib.Path(__file__).with_name("tree_visits.json")
ROWS, SIMULATIONS = 64, 96
CENTRE = (0, 0, 0, 0, 1, 0, 2, 0, 0)


def tree(rule, simulations=SIMULATIONS, action=GAME.spec.action, **options):
    return TreeSearch(action, simulations, rule, **options)


@eqx.filter_jit
def search(planner, model, belief, key=KEY, guide=None):
    """Action and plan for one belief."""
    return planner(model, belief, planner.init(), guide=guide, key=key)


def one_search(planner, model, belief, explore, key, temperature=0.0):
    """Action and plan of one search."""
    first = jr.fold_in(key, 0)  # what the loop gives the first refinement
    found = planner.refine(model, belief, planner.begin(planner.init()), explore=explore, key=first)
    return planner.drawn(found, temperature, key=jr.fold_in(key, 1)), planner.best(found)[1]


@eqx.filter_jit
def _searched(planner, obs, keys, explore):
    return jax.vmap(lambda o, k: one_search(planner, MODEL, MODEL.init(o, key=k), explore, k))(obs, keys)


def searched(rule, *boards, explore=False, keys=None):
    """Actions and plans for positions, always `ROWS` of them so that a rule is compiled once."""
    rows = [boards[i % len(boards)] for i in range(ROWS)]
    return _searched(tree(rule), obs_of(*rows), jr.split(KEY, ROWS) if keys is None else keys, explore)


def obs_of(*boards):
    return jnp.asarray(np.stack([TIC_TAC_TOE.obs(board) for board in boards]))


def positions(most_free, seed=0):
    """Some positions of tic-tac-toe that are not over, with at most so many free squares."""
    boards = [b for b in reachable() if TIC_TAC_TOE.legal(b) and b.count(0) <= most_free]
    return [boards[i] for i in np.random.default_rng(seed).permutation(len(boards))[:ROWS]]


# ---- exact on true rules


@each_rule
def test_search_wins_in_one_and_blocks(rule):
    wins, blocks = (1, 1, 0, 2, 2, 0, 0, 0, 0), (1, 0, 0, 2, 2, 0, 0, 0, 1)
    action, plan = searched(rule, wins, blocks)
    np.testing.assert_array_equal(action, [2, 5] * (ROWS // 2))
    assert plan.value[0] > 0.1


@pytest.mark.slow
@each_rule
def test_search_without_any_guide_finds_the_minimax_move(rule):
    boards = positions(most_free=4)
    action, plan = searched(rule, *boards)
    worth = [TIC_TAC_TOE.value(board) for board in boards]
    played = [-TIC_TAC_TOE.value(TIC_TAC_TOE.play(board, int(a))) for board, a in zip(boards, action)]
    assert played == worth
    assert {-1, 0, 1} == set(worth)
    if rule is ADVERSARIAL:  # the sign of the value is the player's to move
        np.testing.assert_array_equal(np.round(plan.value), worth)


@pytest.mark.slow
@each_rule
@pytest.mark.parametrize("explore", [False, True])
def test_only_legal_actions_are_visited_weighed_and_played(rule, explore):
    boards = positions(most_free=9, seed=1)
    legal = np.stack([np.array(board) == 0 for board in boards])
    action, plan = searched(rule, *boards, explore=explore)
    assert legal[np.arange(ROWS), action].all()
    assert not plan.visits[~legal].any() and np.all(np.asarray(plan.weights)[~legal] < 1e-30)
    np.testing.assert_allclose(plan.weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(plan.visits.sum(-1), SIMULATIONS)


@pytest.mark.slow
@each_rule
def test_rows_of_a_batch_do_not_see_one_another(rule):
    boards, keys = positions(most_free=9, seed=2), jr.split(KEY, ROWS)
    together = searched(rule, *boards)
    # Every row beside another row, in another place.
    turned = searched(rule, *boards[::2][::-1], *boards[1::2], keys=jnp.concatenate([keys[::2][::-1], keys[1::2]]))
    place = np.concatenate([np.arange(ROWS)[::2][::-1], np.arange(ROWS)[1::2]])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[place], y, atol=1e-5), together, turned)


def test_a_batch_of_searches_equals_one_at_a_time():
    together = searched(Gumbel(), CENTRE)
    alone = search(tree(Gumbel()), MODEL, MODEL.init(obs_of(CENTRE)[0], key=KEY), jr.split(KEY, ROWS)[3])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[3], y, atol=1e-5), together, alone)


def visit_counts():
    """By rule: how often each square is tried after an opening of two moves."""
    return {type(r).__name__: searched(r, CENTRE)[1].visits[0].astype(int).tolist() for r in RULES}


def test_visit_counts_are_as_recorded():
    assert visit_counts() == json.loads(FILE.read_text())


# ---- one player


class Chain(AbstractModel):
    """One action; particles differ in gain and in how likely they are to end. No chance."""

    gain: jax.Array
    going: jax.Array

    def init(self, obs, *, key):
        return obs + jnp.zeros_like(self.gain)

    def step(self, belief, action, *, key):
        ones = jnp.ones(belief.shape[1:])
        gain, going = (jnp.multiply.outer(x, ones) for x in (self.gain, self.going))
        return belief + gain, Prediction(belief * gain, going)

    def observation(self, belief):
        return None


def test_value_of_a_chain_is_the_mean_over_its_depths_of_what_rollout_says():
    model = Chain(jnp.array([0.5, 1.0, 2.0]), jnp.array([1.0, 0.6, 0.0]))
    belief = model.init(jnp.array(1.0), key=KEY)
    _, plan = search(tree(PUCT(), 5, Discrete(1), discount=0.9), model, belief)
    zeros = jnp.zeros((1, 5), jnp.int32)
    returns = [0.0] + [float(rollout(model, belief, zeros[:, :n], discount=0.9, key=KEY)[0]) for n in range(1, 6)]
    np.testing.assert_allclose(plan.value, np.mean(returns), rtol=1e-5)


def test_ends_are_worth_nothing_however_much_the_guide_thinks_of_them():
    guide = lambda belief, key: (jnp.zeros((1, 2)), jnp.full(1, 5.0))
    # Action 1 ends the episode with 0.1, and the model would pay 100 a step after that.
    _, plan = search(tree(UCB(exploration=0.0), 40, Discrete(2)), Cliff(), belief_at(Cliff()), guide=guide)
    assert plan.visits[1] == 1 and plan.value < 40


@pytest.mark.parametrize("rule", [PUCT(), UCB(exploration=1.0)], ids=lambda rule: type(rule).__name__)
def test_search_opens_the_lock(rule):
    planner, best = tree(rule, 400, Discrete(3), max_depth=4), lock_optimum(4)[0]
    belief, actions = belief_at(Lock()), []
    for _ in range(4):
        action, _ = search(planner, Lock(), belief)
        actions.append(int(action))
        belief, _ = Lock().step(belief, action[None], key=KEY)
    assert actions == best.tolist()


@pytest.mark.slow
def test_the_ball_is_always_caught_on_the_true_dynamics():
    env, planner = Catch(), make_planner(Discrete(3), PlannerConfig(kind="tree", simulations=150, horizon=9))
    model = Simulator(env)

    def episode(key):
        state, obs = env.reset(key=key)

        def step(carry, key):
            state, obs = carry
            action, _ = planner(model, model.init(obs, key=key), planner.init(), key=key)
            state, obs, reward, _, _ = env.step(state, action, key=key)
            return (state, obs), reward

        return jax.lax.scan(step, (state, obs), jr.split(key, 9))[1].sum()

    np.testing.assert_array_equal(jax.jit(jax.vmap(episode))(jr.split(KEY, 20)), 1.0)


def test_depth_is_limited():
    model = Chain(jnp.ones(1), jnp.ones(1))
    belief = model.init(jnp.array(1.0), key=KEY)
    _, plan = search(tree(PUCT(), 6, Discrete(1), max_depth=1), model, belief)
    # Reward 1 in all six simulations, and 0 at the root's own evaluation.
    np.testing.assert_allclose(plan.value, 6 / 7, rtol=1e-6)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_not_finite_is_never_chosen(poison):
    model = Poisoned.saying(poison, above=1.5)
    for rule in (PUCT(), UCB(), Gumbel()):
        action, plan = search(tree(rule, 60, Discrete(3)), model, belief_at(model))
        assert action != 2 and np.isfinite(plan.value), rule


# ---- particles, keys, turns


class Split(AbstractModel):
    """Two particles that disagree: action 0 is good for the first and worse for the second; both like action 1."""

    def init(self, obs, *, key):
        return jnp.array([[1.0], [-1.2]])

    def step(self, belief, action, *, key):
        reward = jnp.where(action == 0, belief[..., 0], 0.05)
        return belief, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


def test_particles_are_averaged():
    action, plan = search(tree(UCB(), 30, Discrete(2), max_depth=1), Split(), belief_at(Split()))
    assert action == 1 and plan.visits[1] > plan.visits[0]
    # The root's own 0, and the mean reward of either action.
    np.testing.assert_allclose(plan.value, plan.visits @ jnp.array([-0.1, 0.05]) / 31, rtol=1e-4)


def test_policies_of_particles_are_averaged_as_probabilities():
    logits = jnp.log(jnp.array([[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]]))
    guide = lambda belief, key: (logits, jnp.zeros(2))
    _, plan = search(tree(Gumbel(), 1, Discrete(3), max_depth=1), Split(), belief_at(Split()), guide=guide)
    assert int(jnp.argmax(plan.visits)) == 1


class Turns(AbstractModel):
    """Action 1 hands the move over, action 0 keeps it; the third step pays 1 to whoever makes it. Action 2 is barred,
    and would pay 50."""

    def init(self, obs, *, key):
        return jnp.zeros((1, 2), jnp.int32)

    def step(self, belief, action, *, key):
        steps, player = belief[..., 0] + 1, jnp.where(action == 1, 1 - belief[..., 1], belief[..., 1])
        reward = jnp.where(action == 2, 50.0, jnp.where(steps == 3, 1.0, 0.0))
        return jnp.stack([steps, player], -1), Prediction(reward, 1.0 - (steps >= 3))

    def observation(self, belief):
        return None

    def moves(self, belief):
        legal = jnp.broadcast_to(jnp.array([True, True, False]), (*belief.shape[:-1], 3))
        return Moves(legal & (belief[..., :1] < 3), belief[..., 1])


@each_rule
def test_values_change_sign_only_where_the_player_changes(rule):
    action, plan = search(tree(rule, 200, Discrete(3)), Turns(), belief_at(Turns()))
    assert action == 0 and abs(plan.value) <= 1 and plan.visits[2] == 0


class Keyed(AbstractModel):
    """A belief that carries a typed key, which pays for action 1."""

    def init(self, obs, *, key):
        return {"key": jr.split(jr.key(0), 1), "name": "kept"}

    def step(self, belief, action, *, key):
        first, new = jnp.moveaxis(jax.vmap(lambda k: jr.split(k, 2))(belief["key"].reshape(-1)), 1, 0)
        reward = action * jax.vmap(lambda k: jr.uniform(k, minval=0.5))(first).reshape(action.shape)
        return belief | {"key": new.reshape(belief["key"].shape)}, Prediction(reward, jnp.ones_like(reward))

    def observation(self, belief):
        return None


def test_beliefs_may_hold_typed_keys_and_what_is_no_array():
    model = Keyed()
    planner = tree(PUCT(), 20, Discrete(2))
    action, plan = jax.jit(lambda: planner(model, model.init(None, key=KEY), planner.init(), key=KEY))()
    assert action == 1 and plan.value > 0.4


@pytest.mark.slow
def test_pets_searches_trees_in_what_its_ensemble_has_learned():
    """Steps of +-0.3 on a line; the reward is -|x'|. From either side it goes to the middle and stays."""
    spec = EnvSpec("line", 1, Discrete(3))
    reward = lambda obs, action, next_obs: -jnp.abs(next_obs[0])
    model = EnsembleConfig(num_members=2, particles=4, hidden=(32,), epochs=60, batch_size=32)
    config = PETSConfig(model=model, planner=PlannerConfig(kind="tree", simulations=40, horizon=4))
    agent = PlanningAgent(spec, config, given=Given(reward, never_terminates))
    obs, action = jr.uniform(KEY, (200, 1), minval=-1.0), jr.randint(jr.key(1), (200,), 0, 3)
    next_obs, no = obs + 0.3 * (action[:, None] - 1), jnp.zeros(200, bool)
    replay = UniformReplay.empty(spec, 200).add(Transition(obs, action, -jnp.abs(next_obs[:, 0]), next_obs, no, no))
    state, _ = eqx.filter_jit(lambda s, r: updated(agent, s, r, key=KEY))(agent.init(key=KEY), replay)
    act = lambda obs: agent.act(state, agent.init_memory(state), obs, key=KEY, explore=False)[0]
    chosen = jax.jit(jax.vmap(act))(jnp.array([[-0.9], [-0.4], [0.0], [0.4], [0.9]]))
    assert chosen.tolist() == [2, 2, 1, 0, 0]


# ---- exploring


@pytest.mark.slow
def test_temperature_zero_is_greedy_and_one_is_in_proportion_to_visits():
    planner = tree(PUCT(noise_fraction=0.0, value_range=(-1.0, 1.0)), 30)
    belief = MODEL.init(obs_of(CENTRE)[0], key=KEY)
    explore = lambda k, t: one_search(planner, MODEL, belief, True, k, t)
    found = jax.jit(jax.vmap(explore))(jr.split(KEY, 2000), jnp.arange(2000) % 2)
    (cold, plans), (warm, _) = (jax.tree.map(lambda x, i=i: np.asarray(x[i::2]), found) for i in range(2))
    assert np.all(plans.visits[np.arange(1000), cold] == plans.visits.max(-1))
    np.testing.assert_allclose(np.bincount(warm, minlength=9) / 1000, plans.weights.mean(0), atol=0.05)


def test_noise_falls_on_legal_actions_at_the_root_and_in_its_share():
    logits = jnp.log(jnp.array([0.7, 0.2, 0.1, 1e-30]))
    legal = jnp.array([True, True, True, False])
    noisy = jax.vmap(lambda k: PUCT(noise_fraction=0.25, noise_alpha=0.5)._noisy(logits, legal, key=k))
    prior = jax.nn.softmax(jax.jit(noisy)(jr.split(KEY, 4000)))
    assert prior[:, 3].max() == 0
    np.testing.assert_allclose(prior.mean(0)[:3], 0.75 * np.array([0.7, 0.2, 0.1]) + 0.25 / 3, atol=0.01)
    alone = PUCT(noise_fraction=1.0, noise_alpha=0.02)._noisy(logits, legal, key=KEY)
    assert jnp.isfinite(alone[:3]).all()  # a small alpha underflows unless it is drawn as a logarithm


@pytest.mark.slow
def test_nothing_is_random_in_gumbels_search_but_its_exploration():
    greedy, noisy = (searched(Gumbel(), CENTRE, explore=explore)[1].visits for explore in (False, True))
    assert np.ptp(greedy, 0).max() == 0 and np.ptp(noisy, 0).max() > 10


# ---- the interface


def test_refinements_add_up_and_one_call_is_one_search():
    planner = tree(UCB(), 20)
    belief = MODEL.init(obs_of(CENTRE)[0], key=KEY)
    refine = eqx.filter_jit(lambda s, k: planner.refine(MODEL, belief, s, key=k))
    once = refine(planner.begin(planner.init()), jr.fold_in(KEY, 0))
    action, plan = search(planner, MODEL, belief)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), planner.best(once), (action, plan))
    twice = refine(once, jr.fold_in(KEY, 1))
    assert twice.visits.sum() == 40 and planner.best(twice)[1].weights.sum() == pytest.approx(1)
    more = search(tree(UCB(), 20, iterations=2), MODEL, belief)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), planner.best(twice), more)


def test_a_plan_keeps_its_types_from_call_to_call_so_that_none_traces_again():
    planner = tree(Gumbel(), 4)
    first = planner.init()
    _, later = eqx.filter_eval_shape(planner, MODEL, MODEL.init(jnp.zeros(18), key=KEY), first, key=KEY)
    kinds = lambda plan: jax.tree.map(lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False)), plan)
    assert kinds(first) == kinds(later)


def test_continuous_actions_are_refused_and_the_planners_that_fit_named():
    with pytest.raises(ValueError, match="discrete actions, got Box with 2 dimensions; use cem, icem, mppi, shooting"):
        TreeSearch(Box((-1.0, -1.0), (1.0, 1.0)), 8)
    with pytest.raises(ValueError, match="discrete actions"):
        make_planner(Box((-1.0,), (1.0,)), PlannerConfig(kind="tree"))


def test_without_simulations_the_guide_alone_decides_and_a_planner_that_has_none_is_refused():
    logits = jnp.log(jnp.array([[0.2, 0.5, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    belief = MODEL.init(obs_of((0, 0, 0, 0, 0, 0, 0, 0, 0))[0], key=KEY)
    action, plan = search(tree(Gumbel(), 0), MODEL, belief, guide=lambda belief, key: (logits, jnp.full(1, 0.25)))
    assert int(action) == 1 and float(plan.value) == 0.25 and plan.visits.sum() == 0
    np.testing.assert_allclose(plan.weights, np.exp(logits[0]), atol=1e-6)
    with pytest.raises(ValueError, match="simulations=0 must be a whole number of at least 1"):
        make_planner(Discrete(2), PlannerConfig(kind="tree", simulations=0))
    with pytest.raises(ValueError, match="simulations=-1 must be a whole number of at least 0"):
        TreeSearch(Discrete(2), -1)


@pytest.mark.parametrize("name", ["iterations", "max_depth"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be a whole number of at least 1"):
        TreeSearch(**{"action": Discrete(2), "simulations": 4, name: 0})


def test_a_finished_game_has_nothing_to_search():
    over = MODEL.init(obs_of((1, 1, 1, 2, 2, 0, 0, 0, 0))[0], key=KEY)
    planner = tree(Gumbel(), 4)
    with pytest.raises(UserError, match="no action is legal here"):
        planner(MODEL, over, planner.init(), key=KEY)
    action, plan = search(planner, MODEL, over)  # compiled, it can only be seen too late
    assert 0 <= action < 9 and np.isfinite(plan.weights).all()  # every move is as good as any


def test_missing_mctx_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mctx", None)
    with pytest.raises(UserError, match=r'pip install "forethought\[search\]"'):
        TreeSearch(Discrete(2), 4)


def test_rules_refuse_constants_out_of_range():
    for bad in (
        lambda: PUCT(c_base=0.0),
        lambda: PUCT(noise_fraction=1.5),
        lambda: PUCT(value_range=(1.0, 1.0)),
        lambda: Gumbel(considered=0),
        lambda: UCB(exploration=-1.0),
    ):
        with pytest.raises(ValueError, match="must"):
            bad()
    assert tree_rules.UCB().prior_weight == 0


if __name__ == "__main__":  # regenerate on purpose, in a commit of its own
    FILE.write_text(json.dumps(visit_counts()) + "\n")


# ---- ties


class Levers(AbstractModel):
    """One step, and then it is over; action i pays `pays[i]`."""

    pays: jax.Array

    def init(self, obs, *, key):
        return jnp.zeros((1,))

    def step(self, belief, action, *, key):
        reward = self.pays[action] + 0 * belief
        return belief + 1, Prediction(reward, jnp.zeros_like(reward))

    def observation(self, belief):
        return None


@pytest.mark.parametrize("explore", [False, True])
def test_of_equally_visited_actions_the_best_is_played_and_of_equal_ones_any(explore):
    planner = tree(UCB(), 5, Discrete(5))
    one = lambda pays, key: one_search(planner, Levers(pays), jnp.zeros((1,)), explore, key)
    pays = jnp.array([[0.0, 0.0, 0.0, 1.0, 0.0], [0.5, -1.0, 0.5, 0.0, 0.5]])
    action, plan = jax.jit(jax.vmap(one))(pays[jnp.arange(200) % 2], jr.split(KEY, 200))
    assert np.all(plan.visits == 1)
    assert set(action[::2].tolist()) == {3}
    assert set(action[1::2].tolist()) == {0, 2, 4}


def test_searches_added_up_break_their_ties_by_the_mean_of_all_visits():
    planner, nothing = tree(UCB(), 3, Discrete(3)), jnp.zeros(3)
    search = planner.begin(planner.init())
    done = {"choice": jnp.array([1.0, 2.0, 2.0]), "visits": jnp.array([5.0, 10.0, 10.0]), "count": jnp.ones(())}
    search = dataclasses.replace(search, **done, returns=jnp.array([5.0, 3.0, 4.0]))
    assert int(planner.best(search)[0]) == 2
    tied = dataclasses.replace(search, returns=nothing)
    lucky = [dataclasses.replace(tied, luck=jnp.array(luck)) for luck in ([0.9, 0.2, 0.1], [0.9, 0.1, 0.2])]
    assert [int(planner.best(each)[0]) for each in lucky] == [1, 2]


def test_a_value_that_is_no_number_never_wins_a_tie():
    assert favourites(jnp.array([2, 2, 2, 1]), jnp.array([jnp.nan, -1.0, -2.0, 5.0])).tolist() == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.slow
def test_gumbels_search_plays_any_of_several_equal_actions():
    one = lambda key: tree(Gumbel(), 4, Discrete(4))(Levers(jnp.zeros(4)), jnp.zeros((1,)), None, key=key)[0]
    assert set(jax.jit(jax.vmap(one))(jr.split(KEY, 100)).tolist()) == {0, 1, 2, 3}
