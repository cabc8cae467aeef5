"""Simulations per second of tree search on Connect Four's true rules, by the number of games searched side by side.

    python -m benchmarks.search

With AlphaZero's residual network as the guide, and with none (all moves alike, positions worth nothing), which is what
the search itself costs. A simulation descends the tree, makes one move by the rules, and asks the guide once. About
five minutes on two cores.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from forethought.cli import machine
from forethought.presets.alphazero import PRESETS

from . import options
from .record import Recorder, summary

GUIDES = ("network", "none")
PLIES = 8  # random moves before the positions that are searched


def searches(rule: str, simulations: int, channels: int, batches: list[int]) -> Iterator[tuple[str, int, Callable]]:
    """Guide, batch, and a function without arguments that searches so many positions at once and waits for the end."""
    import equinox as eqx
    import jax
    import jax.random as jr

    from forethought.envs.games.connect_four import ConnectFour
    from forethought.learners.self_play import guided
    from forethought.models.simulator import Simulator
    from forethought.networks.policy_value import policy_value
    from forethought.planners.random_play import uniform
    from forethought.planners.tree_rules import PUCT, Gumbel
    from forethought.planners.tree_search import TreeSearch

    game = ConnectFour()
    model = Simulator(game)
    rules = {"gumbel": Gumbel(7), "puct": PUCT(value_range=(-1.0, 1.0))}
    planner = TreeSearch(game.spec.action, simulations=simulations, rule=rules[rule])
    config = dataclasses.replace(PRESETS["connect-four"].network, channels=channels)
    network = policy_value(game.spec, config, bounded=True, key=jr.key(0))

    def opened(key: Any) -> Any:
        """The observation after some random moves."""

        def move(at: tuple, key: Any) -> tuple[tuple, None]:
            return game.step(at[0], uniform(game.moves(at[0]).legal, key), key=key)[:2], None

        return jax.lax.scan(move, game.reset(key=key), jr.split(key, PLIES))[0][1]

    @eqx.filter_jit
    def search(network: Any, obs: Any, keys: Any) -> Any:
        guide = None if network is None else lambda belief, key: guided(network, model, belief)
        one = lambda o, k: planner(model, model.init(o, key=k), planner.init(), guide=guide, key=k)
        return jax.vmap(one)(obs, keys)

    for guide in GUIDES:
        for batch in batches:
            keys = jr.split(jr.key(1), batch)
            obs = jax.jit(jax.vmap(opened))(keys)
            by = network if guide == "network" else None
            yield guide, batch, lambda by=by, obs=obs, keys=keys: jax.block_until_ready(search(by, obs, keys))


def timed(call: Callable[[], Any], *, seconds: float, least: int = 3) -> list[float]:
    """Seconds of single calls, the first (compiling) left out: `least` of them, and more until `seconds` are over."""
    call()
    taken: list[float] = []
    while len(taken) < least or sum(taken) < seconds:
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return taken


def main(argv: list[str] | None = None) -> None:
    """Measures and writes the raw file."""
    parser = options.parser(__doc__, "search")
    parser.add_argument("--batches", type=options.positive, nargs="+", default=[1, 16, 128, 1024], help="%(default)s")
    parser.add_argument("--simulations", type=options.positive, default=32, help="of each search (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each arm at least (%(default)s)")
    parser.add_argument("--rule", choices=("gumbel", "puct"), default="gumbel", help="(%(default)s)")
    parser.add_argument("--channels", type=options.positive, default=32, help="of the network (%(default)s)")
    given = parser.parse_args(argv)
    machine.prepare(given.threads)
    settings = {name: getattr(given, name) for name in ("threads", "simulations", "rule", "channels", "seconds")}
    recorder = Recorder(given.out, benchmark="search", settings=settings, quiet=given.quiet)
    found: list[dict[str, Any]] = []
    for guide, batch, call in searches(given.rule, given.simulations, given.channels, given.batches):
        rates = [batch * given.simulations / seconds for seconds in timed(call, seconds=given.seconds)]
        rounded = [float(f"{rate:.4g}") for rate in rates]
        found.append({"guide": guide, "batch": batch, "simulations_per_s": summary(rounded), "all": rounded})
        recorder.save(arms=found)
        median = found[-1]["simulations_per_s"]["median"]
        recorder.say(f"{guide:>8}, batch {batch:5}: {median:12,.0f} simulations per second")
    recorder.say(f"wrote {given.out}")


if __name__ == "__main__":
    main()
