"""Result cards as typed values. No module here imports JAX."""
