"""Numerical methods as pure functions: double precision, and moments of Gaussians."""
