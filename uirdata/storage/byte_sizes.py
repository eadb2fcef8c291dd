"""Numbers of bytes as people write them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_size(text: str) -> int | None:
    """
    Read a number of bytes; None where it is none.

    >>> parse_size("500MB"), parse_size("1.5GiB"), parse_size("1000000"), parse_size("-1GB")
    (500000000, 1610612736, 1000000, None)
    """
    match = _SIZE.fullmatch(text.lower())
    if not match or float(match[1]) <= 0:
        return None
    return int(float(match[1]) * _UNITS[match[2] or ""])
