"""How many fresh seeds of `dreamer-v2/catch` end above the card's mark, each on its own.

    forethought reproduce dreamer-v2/catch --seed 32001 --num-seeds 20 --threads 1 \
        --out reproductions/dreamer-v2-catch-fresh
    python reproductions/fresh_seeds.py

The second command fills in the statement of docs/algorithms/dreamer-v2.md from the raw files that the first one writes.
No setting was chosen by what these seeds did. The preset was tuned on seeds below 1,000 and on 31001, which failed with
the preset before this one.
"""

import json

from writing import DOCS, HERE, put

from forethought.cards import CARDS

CARD = CARDS["dreamer-v2/catch"]
RAW = HERE / "dreamer-v2-catch-fresh"
PAGE = DOCS / "algorithms/dreamer-v2.md"


def finals() -> dict[int, float]:
    """Final returns by seed."""
    found = [json.loads(file.read_text()) for file in sorted(RAW.glob("seed-*.json"))]
    return {raw["seed"]: raw["final_return"] for raw in found}


def statement() -> str:
    """How many seeds pass, and what each of them returned."""
    found, mark = finals(), CARD.marks[0]
    passed = sum(mark.passed(value) for value in found.values())
    values = ", ".join(f"{value:.2f}" for value in found.values())
    seeds = f"{len(found)} fresh seeds ({min(found)} to {max(found)})"
    first = f"Of {seeds}, {passed} end at {mark.bound} or more with the last policy."
    return f"{first}\nIn the order of their seeds: {values}."


if __name__ == "__main__":
    put(PAGE, "fresh seeds", statement())
