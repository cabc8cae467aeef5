"""Parts that learn from a batch they are fed."""
