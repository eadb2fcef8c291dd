"""Random generators that depend on names, never on the order of work."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(seed: int, key: str, purpose: str) -> int:
    """
    Return a 63-bit seed that depends only on these three values.

    The parts are length-prefixed before hashing, so no two different triples are the same text.

    >>> seed_for(0, "astronaut", "crop") == seed_for(0, "astronaut", "level")
    False
    """
    digest = hashlib.sha256()
    for part in (str(seed), key, purpose):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    # 63 bits: parquet, JSON readers and torch all hold it in a signed 64-bit integer.
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def rng_for(seed: int, key: str, purpose: str) -> np.random.Generator:
    """
    Return a generator that depends only on these three values.

    Args:
        seed: the seed of the run.
        key: what the numbers are drawn for, such as the key of a sample.
        purpose: what is drawn, so that adding a second draw does not change the first.
    """
    return np.random.Generator(np.random.PCG64(seed_for(seed, key, purpose)))
