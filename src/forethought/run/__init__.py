"""Drivers: the loops that every agent runs in. They import no concrete agent, model or environment."""
