"""Planners: choose actions by imagining."""
