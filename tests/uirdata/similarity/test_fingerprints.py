from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tests.conftest import synthetic_image
from uirdata.images import RgbImage
from uirdata.similarity.fingerprints import (
    FLIPS,
    WINDOWS,
    Flip,
    Hashes,
    HashIndex,
    Matches,
    bits_that_differ,
    fingerprint,
    flipped,
    place,
)


def random_hashes(number: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(0, 1 << 64, number, dtype=np.uint64)


def flip(image: RgbImage, how: Flip) -> RgbImage:
    across = -1 if how in ("horizontal", "both") else 1
    down = -1 if how in ("vertical", "both") else 1
    return np.ascontiguousarray(image[::down, ::across])


def pairs(matches: Iterable[Matches]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for part in matches:
        for query, other, bits in zip(*part, strict=True):
            assert (query, other) not in found, "given twice"
            found[int(query), int(other)] = int(bits)
    return found


def test_hashes_are_the_same_today_and_tomorrow() -> None:
    # Kept in caches: whoever changes them changes VERSION, too.
    mark = fingerprint(synthetic_image(96, 128, 5))
    assert (mark.height, mark.width, mark.whole) == (96, 128, 0x8E66E3FCD87FD3F1)
    assert len(mark.windows) == 6
    # Between machines a frequency of about nothing may change its sign.
    pinned = np.array([0x071973DAC76C0CA1], dtype=np.uint64)
    assert bits_that_differ(np.ascontiguousarray(mark.windows["hash"][:1]), pinned) <= 1
    assert mark.windows[["x", "y", "scale"]][0].tolist() == (63, 24, 1)


@pytest.mark.parametrize("how", FLIPS)
def test_a_flip_changes_known_bits_of_the_whole_and_of_every_window(how: Flip) -> None:
    image = synthetic_image(192, 256, 1)
    mark, other = fingerprint(image), fingerprint(flip(image, how))
    assert mark.whole is not None
    assert other.whole is not None
    assert bits_that_differ(flipped(np.array([mark.whole], np.uint64), how), np.array([other.whole], np.uint64)) <= 1
    # 192 and 256 divide by 4, so both grids are the same.
    expected = np.sort(flipped(np.ascontiguousarray(mark.windows["hash"]), how))
    found = np.sort(other.windows["hash"])
    assert len(found) == len(expected) > 10
    assert np.isin(expected, found).mean() > 0.9


def test_gain_and_offset_hardly_change_a_hash() -> None:
    image = synthetic_image(128, 128, 2)
    one, other = (np.array([fingerprint(i).whole], np.uint64) for i in (image, (image * 0.6 + 20).astype(np.uint8)))
    assert bits_that_differ(one, other) <= 2


def test_a_crop_has_the_windows_of_the_image_that_it_was_cut_from() -> None:
    image = synthetic_image(300, 400, 3)
    whole, crop = fingerprint(image), fingerprint(image[37:293, 51:307])
    found = pairs(
        HashIndex(np.ascontiguousarray(whole.windows["hash"])).near(np.ascontiguousarray(crop.windows["hash"]), 10)
    )
    queries, others = np.array(list(found)).T
    placement = place(crop.windows[queries], whole.windows[others], np.array(list(found.values())), "", (256, 256))
    assert placement is not None
    assert placement.windows >= 5
    assert placement.scale == 1.0
    assert (abs(placement.left - 51), abs(placement.top - 37)) <= (3, 3)


def test_windows_that_do_not_agree_place_nothing() -> None:
    rng = np.random.default_rng(4)
    queries, found = (np.zeros(6, WINDOWS) for _ in range(2))
    for windows in (queries, found):
        windows["scale"] = 2
        windows["x"], windows["y"] = rng.permutation(6) * 400 + 30, rng.permutation(6) * 400 + 30
    distances = np.zeros(6, np.int64)
    found["x"][1] = queries["x"][1] + found["x"][0] - queries["x"][0] + 30
    assert place(queries, found, distances, "", (4000, 4000)) is None
    # One window that is near two others of a repeated pattern is one witness, not two.
    assert place(queries[[0, 0]], found[[0, 0]], distances[:2], "", (4000, 4000)) is None


@pytest.mark.parametrize(("probe", "certain"), [(False, 2), (True, 5)])
def test_what_differs_in_few_bits_is_always_found_once_and_with_its_distance(probe: bool, certain: int) -> None:
    indexed = random_hashes(3000)
    rng = np.random.default_rng(1)
    queries = indexed[:600].copy()
    for number in range(600):
        for bit in rng.choice(64, number % 9, replace=False):
            queries[number] ^= np.uint64(1 << int(bit))
    found = pairs(HashIndex(indexed).near(queries, 8, probe=probe))
    for number in range(600):
        assert found.get((number, number), number % 9) == number % 9
        assert (number, number) in found or number % 9 > certain
    brute = bits_that_differ(queries[:, None], indexed[None])
    assert all(brute[pair] == bits <= 8 for pair, bits in found.items())


def test_an_empty_index_and_an_overfull_bucket_return_nothing() -> None:
    assert pairs(HashIndex(random_hashes(0)).near(random_hashes(5), 64, probe=True)) == {}
    crowd = np.zeros(1500, np.uint64)
    assert pairs(HashIndex(crowd).near(crowd[:1], 0)) == {}
    assert len(pairs(HashIndex(crowd[:1000]).near(crowd[:1], 0))) == 1000


def test_candidates_over_the_bound_come_in_parts_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uirdata.similarity.fingerprints._CANDIDATES", 64)
    monkeypatch.setattr("uirdata.similarity.fingerprints._CHUNK", 7)
    indexed = np.repeat(random_hashes(20), 30)
    parts = list(HashIndex(indexed).near(random_hashes(20), 0))
    assert max(len(part.queries) for part in parts) <= 64 + 30
    assert len(pairs(parts)) == 20 * 30


def test_bits_are_counted() -> None:
    one = np.array([0, 1, (1 << 64) - 1, 1 << 63], dtype=np.uint64)
    assert bits_that_differ(one, np.zeros(4, np.uint64)).tolist() == [0, 1, 64, 1]


def test_flat_and_tiny_images_have_no_hash_and_too_large_ones_are_refused() -> None:
    assert fingerprint(np.full((300, 300, 3), 80, np.uint8)).whole is None
    tiny = fingerprint(synthetic_image(8, 8))
    assert len(tiny.windows) == 0
    with pytest.raises(ValueError, match="sides end at 65,535"):
        fingerprint(np.zeros((1, 70_000, 3), np.uint8))
