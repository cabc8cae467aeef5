"""Result cards as typed values. No module here imports JAX."""

from .card import Arm, Card, Mark, Oracle, Results
from .listed import CARDS, find
from .oracles import ORACLES, oracle_return

__all__ = ["CARDS", "ORACLES", "Arm", "Card", "Mark", "Oracle", "Results", "find", "oracle_return"]
