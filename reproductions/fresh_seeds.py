"""How many of twenty fresh seeds of a card end above its mark, each on its own.

    forethought reproduce dreamer-v2/catch --seed 32001 --num-seeds 20 --threads 1 \
        --out reproductions/dreamer-v2-catch-fresh
    forethought reproduce pets/cartpole-learned-reward --seed 62001 --num-seeds 20 --threads 1 \
        --out reproductions/pets-cartpole-learned-reward-fresh
    python reproductions/fresh_seeds.py

The last command fills in the statements of the agents' pages from the raw files that the others write. No setting was
chosen by what these seeds did. The presets were tuned on seeds below 1,000 and on fresh seeds of the preset before, of
which some had failed: 31001 of `dreamer-v2/catch`; 61001 and 61002 of `pets/cartpole-learned-reward`.
"""

import json
from pathlib import Path

from writing import DOCS, HERE, put

from forethought.cards import CARDS
from forethought.cards.card import Card

PAGES = {"dreamer-v2/catch": "dreamer-v2.md", "pets/cartpole-learned-reward": "pets.md"}


def finals(raw: Path) -> dict[int, float]:
    """Final returns by seed."""
    found = [json.loads(file.read_text()) for file in sorted(raw.glob("seed-*.json"))]
    return {each["seed"]: each["final_return"] for each in found}


def statement(card: Card) -> str:
    """How many seeds pass, and what each of them returned."""
    found, mark = finals(HERE / f"{card.name.replace('/', '-')}-fresh"), card.marks[0]
    passed, digits = sum(mark.passed(value) for value in found.values()), 2 if mark.bound < 10 else 1
    values = ", ".join(f"{value:.{digits}f}" for value in found.values())
    seeds = f"{len(found)} fresh seeds ({min(found)} to {max(found)})"
    first = f"Of {seeds}, {passed} end at {mark.bound:.1f} or more with the last policy."
    return f"{first}\nIn the order of their seeds: {values}."


if __name__ == "__main__":
    for name, page in PAGES.items():
        put(DOCS / "algorithms" / page, "fresh seeds", statement(CARDS[name]))
