"""Tables and results on standard output: drawn in a terminal, plain columns elsewhere."""

import sys
from collections.abc import Sequence
from typing import Any


def show(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Prints a table; where the output is no terminal, aligned columns without borders or cuts."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(title) or None, box=box.SIMPLE_HEAD, title_justify="left")
        for name in header:
            table.add_column(escape(name), overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        Console(file=sys.stdout).print(table)
        return
    if title:
        print(title)
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def show_model(shown: Any) -> None:
    """The doctor's verdict on a run's model, and what it found to be wrong."""
    if shown.verdict:
        print(f"model   {shown.verdict}")
    for finding in shown.findings:
        if finding.severity != "note":
            print(f"{finding.severity:<7} {finding.name}: {finding.sentence}")


def note(text: str) -> None:
    """Something the user should know, on standard error."""
    print(f"note: {text}", file=sys.stderr)


def number(value: float) -> str:
    """A return, to four digits or one decimal."""
    return f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}"
