"""When an agent learns what: rounds, and the clock of a run that drives them."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


class Clock(eqx.Module):
    """How far a run is. Seeds side by side share one clock, so a `lax.cond` on it stays a branch under `vmap`."""

    env_steps: Int[Array, ""]  # simulator steps, action repeats and all environments included
    ticks: Int[Array, ""]  # calls of the environments' step
    calls: Int[Array, " rounds"]  # of each round so far, in the schedule's order

    @classmethod
    def start(cls, rounds: int) -> "Clock":
        """Before the first step."""
        return cls(*(jnp.zeros(shape, jnp.int32) for shape in ((), (), rounds)))  # buffers of their own, to be donated

    def called(self, index: int) -> "Clock":
        """After one more call of round number `index`."""
        return Clock(self.env_steps, self.ticks, self.calls.at[index].add(1))


class Round(NamedTuple):
    """One kind of learning, and when it happens."""

    name: str
    every: (
        int | None
    )  # environment steps between calls; 0: after every action; None: one call only, after `first` steps
    first: int = 0  # environment steps before the first call; 0: it comes after `every` steps
    inline: bool = False  # part of the compiled loop that collects steps: for what learns after every few of them

    def due(self, env_steps: Array | int, ticks: Array | int) -> Array | int:
        """How many calls a run should have made after so many environment steps and ticks."""
        if self.every is None:
            return (env_steps >= self.first) * (1 if self.first > 0 else 0)
        if self.every == 0:
            return ticks
        if self.first == 0:
            return env_steps // self.every
        count = (env_steps - self.first) // self.every + 1
        return max(count, 0) if isinstance(count, int) else jnp.maximum(count, 0)

    def next_due(self, env_steps: int) -> int | None:
        """The first environment step after `env_steps` at which a call falls due; None if there is none."""
        if env_steps < self.first:
            return self.first
        if self.every is None:
            return None
        return (
            env_steps + 1 if self.every == 0 else self.first + ((env_steps - self.first) // self.every + 1) * self.every
        )


class Schedule(NamedTuple):
    """What an agent does when. Rounds that fall due at the same step are called in their order."""

    random_steps: int  # environment steps with uniform actions at the beginning
    rounds: tuple[Round, ...]
    random_hold: int = 1  # actions for which each of the uniform actions is held
    num_start_states: int | None = None  # reset keys that training episodes cycle through; None: a new key for each
    single_env: bool = False  # learns from the latest step alone, so it can have only one environment

    @classmethod
    def one_round(cls, name: str, every: int | None, *, random_steps: int = 0, random_hold: int = 1) -> "Schedule":
        """One round, at the end of the random steps and then every `every` environment steps; with None, only once."""
        never = every is None and random_steps == 0
        return cls(random_steps, () if never else (Round(name, every, random_steps),), random_hold)

    @property
    def inline(self) -> tuple[int, ...]:
        """Which rounds belong to the compiled loop."""
        return tuple(i for i, each in enumerate(self.rounds) if each.inline)

    def due(self, clock: Clock) -> list[int]:
        """How many calls of each round are due and not made."""
        steps, ticks, calls = jax.device_get((clock.env_steps, clock.ticks, clock.calls))
        return [int(each.due(int(steps), int(ticks))) - int(made) for each, made in zip(self.rounds, calls)]

    def calls(self, env_steps: int) -> list[int]:
        """How many calls of each round a run of so many environment steps makes, with one action a step."""
        return [int(each.due(env_steps, env_steps)) for each in self.rounds]

    def check(self) -> None:
        """Raises ValueError for invalid numbers, duplicate round names, and inline rounds that do not come last."""
        if self.random_steps < 0:
            raise ValueError(f"random_steps={self.random_steps} must be at least 0")
        names = [each.name for each in self.rounds]
        if len(set(names)) < len(names):
            raise ValueError(f"rounds are named {', '.join(names)}; give each a name of its own")
        for each in self.rounds:
            if each.first < 0 or (each.every is not None and each.every < 0):
                raise ValueError(f"round {each.name}: every={each.every}, first={each.first} must be at least 0")
            if each.every is None and each.first == 0:
                raise ValueError(f"round {each.name} never falls due: every=None wants first of at least 1")
            if each.every == 0 and (not each.inline or each.first):
                raise ValueError(f"round {each.name}: every=0, after every action, wants inline=True and first=0")
        if any(a.inline and not b.inline for a, b in zip(self.rounds, self.rounds[1:])):
            raise ValueError(f"rounds {', '.join(names)}: those with inline=True must come last")
