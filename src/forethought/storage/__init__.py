"""Storage: checkpoints, run folders, metric sinks."""
