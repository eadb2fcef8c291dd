"""Directories (IFDs) of TIFF files and of EXIF blocks, which have the form of a TIFF file."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from uirdata.decoding.octets import Octets

SHORT, LONG = 3, 4
_LONG8 = 16
# Type of a value: its size, and its struct code; a fraction is two numbers.
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
_BIG_TYPES = {13: "I", 16: "Q", 17: "q", 18: "Q"}
_CODES = _TYPES | _BIG_TYPES
_INTEGERS = frozenset({1, 3, 4, 13, 16})
_MOST_VALUES = 1 << 24
_MOST_DIRECTORIES = 10_000
_MOST_TAGS = 65_536


@dataclass(frozen=True)
class Entry:
    """
    A tag of a directory.

    Attributes:
        kind: number of its type.
        count: number of its values.
        raw: the bytes of all values.
    """

    kind: int
    count: int
    raw: bytes


@dataclass(frozen=True)
class Directory:
    """
    A directory; tags whose values do not lie in the file, or have an unknown type, are left out.

    Attributes:
        order: "<" or ">", as in `struct`.
        big: whether it is of a BigTIFF, with offsets of 64 bits.
        entries: by the number of the tag.
        following: offset of the next directory; 0 if there is none.
        damaged: tags that were left out.
        is_cut: whether tags are missing at its end.
    """

    order: str
    big: bool
    entries: Mapping[int, Entry]
    following: int
    damaged: tuple[int, ...] = ()
    is_cut: bool = False

    def integers(self, tag: int) -> tuple[int, ...]:
        """Return the values of a tag of whole numbers; none if it is missing or of another type."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        return struct.unpack(f"{self.order}{entry.count}{_CODES[entry.kind]}", entry.raw)

    def integer(self, tag: int, default: int) -> int:
        """Return the first value of a tag of whole numbers."""
        return next(iter(self.integers(tag)), default)

    def numbers(self, tag: int) -> tuple[float, ...]:
        """Return the values of a tag of numbers of any type but fractions; none if it is missing."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind in (2, 5, 10):
            return ()
        return struct.unpack(f"{self.order}{entry.count}{_CODES[entry.kind]}", entry.raw)


def first_directory(octets: Octets) -> Directory:
    """
    Return the first directory of a TIFF file or of an EXIF block.

    Raises:
        ValueError: it has none.
    """
    head = octets.part(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("it does not begin as a TIFF file does")
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    if big and len(head) < 16:
        raise ValueError("its header is cut short")
    start = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    return directory_at(octets, start, order, big=big)


def all_directories(octets: Octets) -> Iterator[Directory]:
    """Yield the directories of a TIFF file; the chain ends at the first one that is damaged or was yielded before."""
    directory = first_directory(octets)
    yield directory
    seen: set[int] = set()
    while directory.following and directory.following not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(directory.following)
        try:
            directory = directory_at(octets, directory.following, directory.order, big=directory.big)
        except ValueError:
            return
        yield directory


def directory_at(octets: Octets, start: int, order: str, *, big: bool) -> Directory:
    """
    Return the directory at an offset.

    Raises:
        ValueError: there is none, or it is cut short.
    """
    count_form, entry_form, offset_form = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    count_size, entry_size, offset_size = (8, 20, 8) if big else (2, 12, 4)
    counted = octets.part(start, count_size)
    if start < 8 or len(counted) < count_size:
        raise ValueError("its directory lies outside the file")
    count = struct.unpack(order + count_form, counted)[0]
    table = octets.part(start + count_size, min(count, _MOST_TAGS) * entry_size + offset_size)
    # Of a directory that is cut short, the tags that are there count.
    announced, count = count, min(count, len(table) // entry_size)
    if not count:
        raise ValueError("its directory is empty or cut short")
    entries: dict[int, Entry] = {}
    damaged: list[int] = []
    for tag, kind, number, field in struct.iter_unpack(order + entry_form, table[: count * entry_size]):
        entry = _entry(octets, order, kind, number, field, offset_form)
        if entry is None:
            damaged.append(tag)
        else:
            entries.setdefault(tag, entry)
    # EXIF blocks often end before the offset of the next directory.
    rest = table[count * entry_size :]
    following = struct.unpack(order + offset_form, rest)[0] if len(rest) == offset_size else 0
    return Directory(order, big, entries, following, tuple(damaged), is_cut=count < announced)


def _entry(octets: Octets, order: str, kind: int, number: int, field: bytes, offset_form: str) -> Entry | None:
    code = _CODES.get(kind)
    if code is None or number > _MOST_VALUES:
        return None
    size = number * struct.calcsize("=" + code)
    raw = field[:size] if size <= len(field) else octets.part(struct.unpack(order + offset_form, field)[0], size)
    return Entry(kind, number, raw) if len(raw) == size else None


def written(start: int, order: str, entries: Iterable[tuple[int, Entry]]) -> bytes:
    """
    Return the bytes of a directory of a classic TIFF, without a next one, and of its values.

    Args:
        start: offset at which it will stand.
        order: "<" or ">".
        entries: the tags.
    """
    listed = sorted(entries, key=lambda item: item[0])
    table = struct.pack(order + "H", len(listed))
    values = b""
    at = start + len(table) + len(listed) * 12 + 4
    for tag, given in listed:
        entry = given
        if given.kind == _LONG8:
            entry = longs(struct.unpack(f"{order}{given.count}Q", given.raw), order)
        field = entry.raw.ljust(4, b"\0")
        if len(entry.raw) > 4:
            field = struct.pack(order + "I", at + len(values))
            values += entry.raw + b"\0" * (len(entry.raw) % 2)
        table += struct.pack(order + "HHI", tag, entry.kind, entry.count) + field
    return table + bytes(4) + values


def longs(values: Iterable[int], order: str) -> Entry:
    """Return an entry of offsets or sizes."""
    listed = list(values)
    return Entry(LONG, len(listed), struct.pack(f"{order}{len(listed)}I", *listed))


def shorts(values: Iterable[int], order: str) -> Entry:
    """Return an entry of 16-bit numbers."""
    listed = list(values)
    return Entry(SHORT, len(listed), struct.pack(f"{order}{len(listed)}H", *listed))
