"""Environments: adapters and small JAX-native tasks."""
