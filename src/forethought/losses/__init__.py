"""Losses and targets as pure functions."""
