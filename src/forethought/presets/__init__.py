"""Configs of the agents and their presets. No module here imports JAX."""
