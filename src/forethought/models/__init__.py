"""Models of the world."""
