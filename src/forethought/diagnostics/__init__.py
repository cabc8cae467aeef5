"""Diagnostics: what a run shows, and whether its model can be trusted."""
