"""How numbers are written in everything that users read."""

import math


def percent(share: float, *, signed: bool = False) -> str:
    """`share` as a percentage: whole from 10 % on, two digits below, never an exponent; a dash if it is not finite."""
    value = 100 * float(share)
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    if 0 < abs(value) < 0.01:
        return f"{'-' if value < 0 else sign}<0.01 %"
    return f"{value:{sign},.0f} %" if abs(value) >= 9.95 or value == 0 else f"{value:{sign}.2g} %"


def gigabytes(count: float) -> str:
    """Bytes in GB, to three figures; whole from 1,000 on."""
    size = count / 1e9
    return f"{size:,.0f} GB" if size >= 1000 else f"{size:.3g} GB"
