"""How the file names of LQ and GT may differ, as pairs of patterns that fit given names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from uirdata.facts.own_words import role_of_word

Shape = tuple[str, str]
"""Pattern of the LQ and of the GT, without a suffix."""

EQUAL: Shape = ("{path:.+}", "{path}")

_MOST_WORDS = 3


def shapes(lqs: Sequence[str], gts: Sequence[str]) -> Iterator[Shape]:
    """
    Yield ways in which the names of LQ and GT may belong together, the simplest first. Not all of them fit.

    >>> next(shape for shape in shapes(["low01", "low02"], ["normal01", "normal02"]) if shape != EQUAL)
    ('low{id}', 'normal{id}')

    Args:
        lqs: paths of the LQ below their folder, without suffix.
        gts: the same of the GT.
    """
    yield EQUAL
    deep = any("/" in name for name in (*lqs, *gts))
    folders = [("{dir:(?:.*/)?}", "{dir}")] if deep else [("", "")]
    if deep and not any("/" in name for name in gts):
        folders.append(("{within:(?:.*/)?}", ""))
    left = sorted({name.rpartition("/")[2] for name in lqs})
    right = sorted({name.rpartition("/")[2] for name in gts})
    for lq_folder, gt_folder in folders:
        for lq, gt in dict.fromkeys((*word_shapes(left, right), *_affix_shapes(left, right))):
            yield lq_folder + lq, gt_folder + gt


def word_shapes(lqs: Sequence[str], gts: Sequence[str]) -> Iterator[Shape]:
    """Yield the shapes in which words such as lq and gt, before, after or inside a name, tell LQ from GT."""
    for front, back in (("", "{id}"), ("{id}", ""), ("{id}", "{rest}"), ("", "")):
        for lq in (*_marks(lqs, "lq", front, back), ""):
            for gt in (*_marks(gts, "gt", front, back), ""):
                if lq != gt and (front + back or (lq and gt)):
                    yield front + lq + back, front + gt + back


def _marks(names: Sequence[str], kind: str, front: str, back: str) -> list[str]:
    """Return the most frequent words of a kind in the names, with the separators that set them off from `front`."""
    found: Counter[str] = Counter()
    for name in names:
        # Letters, digits and what separates them: low0001, 0001_NOISY_SRGB.
        parts = re.findall(r"[^\W\d_]+|\d+|[\W_]+", name)
        if not front and not back:
            chosen = range(len(parts)) if len(parts) == 1 else range(0)
        elif not front:
            chosen = range(min(1, len(parts) - 1))
        elif not back:
            chosen = range(max(1, len(parts) - 1), len(parts))
        else:
            chosen = range(1, len(parts) - 1)
        for index in chosen:
            role = role_of_word(parts[index])
            if role is not None and role.kind == kind:
                before = parts[index - 1] if front and not parts[index - 1].isalnum() else ""
                after = parts[index + 1] if back and not parts[index + 1].isalnum() else ""
                found[before + parts[index] + after] += 1
    return [mark for mark, _ in found.most_common(_MOST_WORDS) if _is_literal(mark)]


def _affix_shapes(lqs: Sequence[str], gts: Sequence[str]) -> Iterator[Shape]:
    """Yield the shapes in which all LQ share a beginning or an end that the GT lack, or the reverse."""
    for p1, p2 in _affixes(lqs, gts, at_end=False):
        for s1, s2 in _affixes(lqs, gts, at_end=True):
            left, right = _cores(lqs, p1, s1), _cores(gts, p2, s2)
            if left is None or right is None:
                continue
            yield f"{p1}{{id}}{s1}", f"{p2}{{id}}{s2}"
            if all(core.isascii() and core.isdigit() for core in (*left, *right)):
                yield f"{p1}{{:0*}}{{id:0|[1-9]\\d*}}{s1}", f"{p2}{{:0*}}{{id}}{s2}"
            for lq, gt in _several_shapes(left, right):
                yield f"{p1}{lq}{s1}", f"{p2}{gt}{s2}"


def _several_shapes(lqs: Sequence[str], gts: Sequence[str]) -> Iterator[Shape]:
    """Yield the shapes in which an LQ has the name of its GT and something after it, so that a GT has several LQ."""
    for separator in ("_", "-", " ", ".", "x"):
        counts = {name.count(separator) for name in gts}
        if len(counts) != 1:
            continue
        inner = counts.pop()
        parts = [name.split(separator) for name in lqs]
        if any(len(part) <= inner + 1 for part in parts):
            continue
        rests = [separator.join(part[inner + 1 :]) for part in parts]
        numbers = all(rest.isascii() and rest.isdigit() for rest in rests)
        if separator == "x" and not numbers:
            continue
        mark = re.escape(separator)
        no = f"[^/{mark}]+"
        key = f"{{id:{no}}}" if not inner else f"{{id:{no}(?:{mark}{no}){{{inner}}}}}"
        more = "{more:\\d+}" if numbers else "{more:[^/]+}"
        yield key + separator + more, "{id}"


def _affixes(lqs: Sequence[str], gts: Sequence[str], *, at_end: bool) -> list[tuple[str, str]]:
    """Return what may stand before (or after) what LQ and GT have in common: nothing, or what all of a side share."""
    left, right = _shared(lqs, at_end=at_end), _shared(gts, at_end=at_end)
    # All numbers may begin with the same digits, which belong to the number: 100 is no 0 with something before it.
    digits = r"^\d+" if at_end else r"\d+$"
    found = [("", ""), (re.sub(digits, "", left), re.sub(digits, "", right)), _apart(left, right, at_end=at_end)]
    return [
        pair for pair in dict.fromkeys(found) if all(_is_literal(text) and not re.search(digits, text) for text in pair)
    ]


def _shared(names: Sequence[str], *, at_end: bool) -> str:
    if len(names) < 2:
        return ""
    turned = [name[::-1] for name in names] if at_end else list(names)
    common = _common(turned)
    return common[::-1] if at_end else common


def _common(texts: Sequence[str]) -> str:
    """Return the characters with which all texts begin."""
    # Of sorted texts, the first and the last differ the most.
    first, last = min(texts), max(texts)
    size = next((index for index, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:size]


def _apart(left: str, right: str, *, at_end: bool) -> tuple[str, str]:
    """Return two affixes without what they have in common where they touch the rest of the name."""
    if at_end:
        size = len(_common([left, right]))
        return left[size:], right[size:]
    size = len(_common([left[::-1], right[::-1]]))
    return left[: len(left) - size], right[: len(right) - size]


def _cores(names: Sequence[str], front: str, back: str) -> list[str] | None:
    cores = [name[len(front) : len(name) - len(back)] for name in names if len(name) > len(front) + len(back)]
    return cores if len(cores) == len(names) else None


def _is_literal(text: str) -> bool:
    """Return whether a pattern can hold a text as it is."""
    return not any(character in "{}*/" for character in text)
