"""Result cards as typed values. No module here imports JAX."""

from .card import CARDS, ORACLES, Card, Oracle, find, oracle_return

__all__ = ["CARDS", "ORACLES", "Card", "Oracle", "find", "oracle_return"]
