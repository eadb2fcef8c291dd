from __future__ import annotations

import hashlib

from uirdata.seeding import rng_for, seed_for


def test_a_seed_is_the_same_in_every_process_and_release() -> None:
    # The first eight bytes of sha256 over the length-prefixed parts, without the sign bit.
    assert seed_for(0, "astronaut", "recipe") == 7735187877745824169
    assert [int(v) for v in rng_for(0, "astronaut", "recipe").integers(0, 1000, 4)] == [103, 702, 301, 20]


def test_a_seed_is_what_its_docstring_says() -> None:
    digest = hashlib.sha256()
    for part in (b"7", b"wed", b"crop"):
        digest.update(len(part).to_bytes(8, "little") + part)
    assert seed_for(7, "wed", "crop") == int.from_bytes(digest.digest()[:8], "little") // 2


def test_neighbouring_names_do_not_run_together() -> None:
    assert seed_for(1, "a", "bc") != seed_for(1, "ab", "c") != seed_for(11, "", "c")
    assert seed_for(0, "x", "level") != seed_for(1, "x", "level")
