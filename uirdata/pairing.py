"""Which LQ belongs to which GT: file names in, pairs out; no disk access, no pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from uirdata.file_kinds import count_unread
from uirdata.manifest_syntax.pair_rules import (
    TYPES,
    UNSEEN,
    Example,
    ExamplePair,
    Exclude,
    PairRule,
    Split,
    rule_faults,
)
from uirdata.manifest_syntax.patterns import PREFIX, compile_pattern, fill_template, is_image_name


@dataclass(frozen=True)
class Pair:
    """
    An LQ and its GT, or only one of them.

    Attributes:
        source: id of the source.
        split: train, val or test.
        degradation: one of the nineteen types; "" for a clean image, from which the LQ is synthesised.
        real: captured, not synthesised.
        gt: path below the source's folder, with "/"; "" if there is none (test sets without a reference).
        lq: the same for the LQ; "" for a clean image.
        level: the level, from the name of the file or its folder; "" if the name does not contain it.
        scene: pairs of a source with equal scenes show the same content; splits are made by scene.
        gt_border: pixels to cut off each side of the GT so that it covers the LQ (RESIDE indoor: 10).
        drop_identical: the source has pairs whose LQ is equal to the GT, bit for bit; they are left out when the pixels
            are checked.
        cut: both are crops already; they are not cut again.
    """

    source: str
    split: str
    degradation: str
    real: bool
    gt: str
    lq: str
    level: str
    scene: str
    gt_border: int = 0
    drop_identical: bool = False
    cut: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A file that matched a rule but was not paired, with the reason in plain words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Pairing:
    """
    The result of applying the rules of a source to its files.

    Attributes:
        pairs: in the order of the rules, then of the names.
        left_out: files that matched some rule but were not paired, sorted.
        skipped: number of files that are skipped on purpose (masks, other views).
        unknown: images that match no rule and no `skip` pattern, sorted. Many of them indicate a different layout.
        unread: number of images of kinds that are not read, by suffix, the most frequent first.
    """

    pairs: tuple[Pair, ...]
    left_out: tuple[LeftOut, ...]
    skipped: int = 0
    unknown: tuple[str, ...] = ()
    unread: Mapping[str, int] = field(default_factory=dict)


class HasRules(Protocol):
    """The part of a `sources.Source` that pairing needs."""

    @property
    def id(self) -> str:
        """Id of the source."""
        ...

    @property
    def pairs(self) -> tuple[PairRule, ...]:
        """Its pairing rules."""
        ...

    @property
    def skip(self) -> tuple[Exclude, ...]:
        """Patterns of files to skip."""
        ...


CUT_HERE = "is cut from images that are here whole"
HERE_TOO = "is here already in another layout"
"""Reasons to leave out files whose images are here under another name."""


class Found(NamedTuple):
    """A pair that a rule found, with the texts that its holes stand for, by their names."""

    lq: str
    gt: str
    level: str
    scene: str
    holes: Mapping[str, str]


def find_pairs(source: HasRules, names: Sequence[str], read_text: Callable[[str], str]) -> Pairing:
    """
    Return the pairs among the files of a source.

    The result does not depend on the order of the names. A pair that matches two rules belongs to the first of them.

    Args:
        source: the source whose rules are applied.
        names: all files below the source's folder, with "/".
        read_text: returns the text of a list file by its name; called only for rules with a list.
    """
    ordered = sorted(set(names))
    skips = [compile_pattern(skip.pattern) for skip in source.skip]
    kept = [name for name in ordered if not any(skip.match(name) is not None for skip in skips)]
    images = [name for name in kept if is_image_name(name)]
    pairs: dict[tuple[str, str], Pair] = {}
    reasons: dict[str, str] = {}
    used: set[str] = set()
    before: list[tuple[PairRule, list[Found]]] = []
    for rule in sorted(source.pairs, key=lambda rule: rule.cut):
        found = _apply(rule, images, kept, read_text, reasons)
        found = _not_again(rule, found, before, reasons)
        before.append((rule, found))
        for lq, gt, level, scene, _ in found:
            used.update((lq, gt))
            pairs.setdefault(
                (lq, gt),
                Pair(
                    source=source.id,
                    split=_split(source.id, scene, rule),
                    degradation=rule.degradation,
                    real=rule.real,
                    gt=gt,
                    lq=lq,
                    level=level,
                    scene=scene,
                    gt_border=rule.gt_border,
                    drop_identical=rule.drop_identical,
                    cut=rule.cut,
                ),
            )
    left = tuple(LeftOut(path, reasons[path]) for path in sorted(reasons) if path not in used)
    unknown = tuple(name for name in images if name not in used and name not in reasons)
    return Pairing(tuple(pairs.values()), left, len(ordered) - len(kept), unknown, count_unread(kept))


def _not_again(
    rule: PairRule, found: list[Found], before: Sequence[tuple[PairRule, list[Found]]], reasons: dict[str, str]
) -> list[Found]:
    """Return the pairs without those that are here in the layout of an earlier rule; the others get the reason."""
    if not rule.layout:
        return found
    rivals = [
        (earlier, pairs)
        for earlier, pairs in before
        if pairs
        and (earlier.split, earlier.degradation) == (rule.split, rule.degradation)
        and (earlier.layout != rule.layout or earlier.cut != rule.cut)
    ]
    for earlier, pairs in rivals:
        if rule.cut and not earlier.cut:
            for item in found:
                for path in (item.lq, item.gt):
                    reasons.setdefault(path, CUT_HERE)
            return []
        shared = sorted((pairs[0].holes.keys() & (found[0].holes.keys() if found else set())) - {PREFIX})
        if not shared:
            continue
        known = {_identity(item, shared): item for item in pairs}
        kept = []
        for item in found:
            same = known.get(_identity(item, shared))
            # A pair that both rules find is that of the first.
            if same is None or (same.lq, same.gt) == (item.lq, item.gt):
                kept.append(item)
                continue
            for path in (item.lq, item.gt):
                reasons.setdefault(path, f"{HERE_TOO}: {same.gt or same.lq}")
        found = kept
    return found


def _identity(item: Found, holes: Sequence[str]) -> tuple[object, ...]:
    """Return what a pair is called in any layout; 001 and 1 are one number."""
    return tuple(int(text) if (text := item.holes[hole]).isdecimal() else text for hole in holes)


def _split(source: str, scene: str, rule: PairRule) -> str:
    if not rule.test_share:
        return rule.split
    digest = hashlib.sha256(f"{source}/{scene}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < rule.test_share * 2**64 else rule.split


def _apply(
    rule: PairRule,
    images: Sequence[str],
    names: Sequence[str],
    read_text: Callable[[str], str],
    reasons: dict[str, str],
) -> list[Found]:
    """Apply one rule. Files that match it but are not paired are added to `reasons`, unless they are there already."""
    lqs = _matches(rule.lq, images)
    gts = _matches(rule.gt, images, like=rule.lq)
    for exclude in rule.exclude:
        pattern = compile_pattern(exclude.pattern)
        for matches in (lqs, gts):
            for name in [name for name in matches if pattern.match(name) is not None]:
                del matches[name]
                reasons.setdefault(name, exclude.reason)
    if rule.kind == "list":
        return _by_list(rule, lqs, gts, names, read_text, reasons)
    if not rule.lq:
        return [_found(rule, "", name, gts[name]) for name in gts]
    if not rule.gt:
        return [_found(rule, name, "", lqs[name]) for name in lqs]
    if rule.kind == "sorted":
        return _by_order(rule, lqs, gts, reasons)
    return _by_names(rule, lqs, gts, reasons)


def _matches(pattern: str, names: Sequence[str], like: str = "") -> dict[str, tuple[str, ...]]:
    if not pattern:
        return {}
    match = compile_pattern(pattern, like).match
    return {name: values for name in names if (values := match(name)) is not None}


def _by_names(
    rule: PairRule,
    lqs: Mapping[str, tuple[str, ...]],
    gts: Mapping[str, tuple[str, ...]],
    reasons: dict[str, str],
) -> list[Found]:
    lq_holes, gt_holes = compile_pattern(rule.lq).holes, compile_pattern(rule.gt).holes
    positions = [lq_holes.index(hole) for hole in gt_holes]
    by_key: dict[tuple[str, ...], list[str]] = {}
    for name, values in gts.items():
        by_key.setdefault(values, []).append(name)
    found: list[Found] = []
    wanted: set[tuple[str, ...]] = set()
    for name, values in lqs.items():
        key = tuple(values[position] for position in positions)
        wanted.add(key)
        partners = by_key.get(key, [])
        if len(partners) == 1:
            found.append(_found(rule, name, partners[0], values))
        elif partners:
            reason = "more than one GT fits: " + ", ".join(partners)
            for path in (name, *partners):
                reasons.setdefault(path, reason)
        else:
            expected = compile_pattern(rule.gt).fill(dict(zip(gt_holes, key, strict=True)))
            reasons.setdefault(name, f"no GT: {expected} is missing")
    for key, partners in by_key.items():
        if key not in wanted:
            for path in partners:
                reasons.setdefault(path, "no LQ belongs to this GT")
    return found


def _by_order(
    rule: PairRule,
    lqs: Mapping[str, tuple[str, ...]],
    gts: Mapping[str, tuple[str, ...]],
    reasons: dict[str, str],
) -> list[Found]:
    lq_holes, gt_holes = compile_pattern(rule.lq).holes, compile_pattern(rule.gt).holes
    shared = [hole for hole in lq_holes if hole in gt_holes]
    lq_groups = _grouped(lqs, [lq_holes.index(hole) for hole in shared])
    gt_groups = _grouped(gts, [gt_holes.index(hole) for hole in shared])
    found: list[Found] = []
    for key in sorted(set(lq_groups) | set(gt_groups)):
        left, right = lq_groups.get(key, []), gt_groups.get(key, [])
        if len(left) == len(right):
            found += [_found(rule, lq, gt, lqs[lq]) for lq, gt in zip(left, right, strict=True)]
            continue
        reason = f"they pair in sorted order, but there are {len(left)} LQ and {len(right)} GT: some are missing"
        for path in (*left, *right):
            reasons.setdefault(path, reason)
    return found


def _grouped(matches: Mapping[str, tuple[str, ...]], positions: Sequence[int]) -> dict[tuple[str, ...], list[str]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, values in matches.items():
        groups.setdefault(tuple(values[position] for position in positions), []).append(name)
    return groups


def _by_list(
    rule: PairRule,
    lqs: Mapping[str, tuple[str, ...]],
    gts: Mapping[str, tuple[str, ...]],
    names: Sequence[str],
    read_text: Callable[[str], str],
    reasons: dict[str, str],
) -> list[Found]:
    lists = list(_matches(rule.list, names))
    found: list[Found] = []
    for list_name in lists:
        # The entries are relative to a folder of the archive that the list does not name.
        prefixes: dict[str, str] = {}
        for number, line in enumerate(read_text(list_name).splitlines(), start=1):
            entries = line.split()
            if not entries:
                continue
            if len(entries) < 2:
                reasons.setdefault(list_name, f"line {number} has no two columns: {line[:200]!r}")
                continue
            gt, lq = entries[:2] if rule.columns == "gt lq" else (entries[1], entries[0])
            gt_path, lq_path = _resolve(gt, gts, prefixes), _resolve(lq, lqs, prefixes)
            if gt_path and lq_path:
                found.append(_found(rule, lq_path, gt_path, lqs[lq_path]))
            elif lq_path:
                reasons.setdefault(lq_path, f"no GT: {gt[:500]} is missing, {list_name} line {number} names it")
            elif gt_path:
                reasons.setdefault(gt_path, f"no LQ: {lq[:500]} is missing, {list_name} line {number} names it")
    for name in (*lqs, *gts):
        reasons.setdefault(name, f"no line of {', '.join(lists)} names it" if lists else f"{rule.list} is missing")
    return found


def _resolve(entry: str, matches: Mapping[str, tuple[str, ...]], prefixes: dict[str, str]) -> str:
    """Return the file that a list entry names: the entry below one of the folders seen so far, or below a new one."""
    entry = entry.replace("\\", "/").removeprefix("./")
    for prefix in prefixes:
        if prefix + entry in matches:
            return prefix + entry
    if len(prefixes) < 4:
        ending = "/" + entry
        for name in matches:
            if name == entry or name.endswith(ending):
                prefixes.setdefault(name[: len(name) - len(entry)], "")
                return name
    return ""


def _found(rule: PairRule, lq: str, gt: str, values: tuple[str, ...]) -> Found:
    level = scene = ""
    holes = compile_pattern(rule.lq or rule.gt).holes
    named = dict(zip(holes, values, strict=True))
    if rule.level or rule.scene:
        level = fill_template(rule.level, holes, values)
        scene = fill_template(rule.scene, holes, values)
    return Found(lq, gt, level, scene or (gt or lq).rpartition(".")[0], named)


__all__ = [
    "TYPES",
    "UNSEEN",
    "Example",
    "ExamplePair",
    "Exclude",
    "LeftOut",
    "Pair",
    "PairRule",
    "Pairing",
    "Split",
    "find_pairs",
    "rule_faults",
]
