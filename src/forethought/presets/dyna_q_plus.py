"""Dyna-Q+: its presets, with those of Dyna-Q on the same tasks (Sutton & Barto 2018, section 8.3)."""

import dataclasses

from .dyna_q import DynaQConfig

__all__ = ["PRESETS", "DynaQConfig"]

_BLOCKING = DynaQConfig(planning_steps=10, step_size=1.0, bonus=1e-4, plan_untried=True)
_SHORTCUT = DynaQConfig(planning_steps=50, step_size=1.0, bonus=1e-3, plan_untried=True)


def _without(config: DynaQConfig) -> DynaQConfig:
    """Dyna-Q with the same numbers."""
    return dataclasses.replace(config, bonus=0.0, plan_untried=False)


PRESETS: dict[str, DynaQConfig] = {
    "default": _SHORTCUT,
    "blocking-maze": _BLOCKING,
    "blocking-maze-without": _without(_BLOCKING),
    "shortcut-maze": _SHORTCUT,
    "shortcut-maze-without": _without(_SHORTCUT),
}
