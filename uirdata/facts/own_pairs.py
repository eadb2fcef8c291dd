"""Ways in which the files of a user's folder may pair, found by the names of folders and files."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from uirdata.facts.own_shapes import EQUAL, Shape, shapes, word_shapes
from uirdata.facts.own_words import Role, names_split, role_of_folder, role_of_word, split_of
from uirdata.manifest_syntax.pair_rules import Exclude, PairRule, Split, rule_faults
from uirdata.manifest_syntax.patterns import compile_pattern
from uirdata.pairing import find_pairs


@dataclass(frozen=True)
class FoundPairs:
    """
    Rules that pair files of a folder.

    Attributes:
        rules: split, pattern of the LQ and pattern of the GT, in order.
        degradation: that the names imply; "" for none.
        pairs: the GT of each LQ.
        lqs: number of files that are LQ by their names; those that are not in `pairs` have no GT.
        is_equal: the names of LQ and GT are equal.
    """

    rules: tuple[tuple[Split, str, str], ...]
    degradation: str
    pairs: Mapping[str, str]
    lqs: int
    is_equal: bool

    @property
    def is_full(self) -> bool:
        """Whether every LQ has a GT."""
        return len(self.pairs) == self.lqs

    @property
    def options(self) -> str:
        """The options that say the same."""
        # A rule that pairs nothing would be refused when it is typed.
        used = [(lq, gt) for _, lq, gt in self.rules if any(compile_pattern(lq).match(name) for name in self.pairs)]
        pairs = " ".join(pair_option(lq, gt) for lq, gt in used)
        return f"{pairs} --degradation {self.degradation or 'TYPE'}"


def pair_option(lq: str, gt: str) -> str:
    """Return the option that pairs files by two patterns, as it is typed in a shell."""
    return shlex.join(["--pair", lq, gt])


def swapped_patterns(lq: str, gt: str) -> tuple[str, str] | None:
    """
    Return the patterns with which the GT of two patterns are the LQ; None if there are none.

    >>> swapped_patterns("lq/{path:.+}.{image}", "gt/{path}.{image}")
    ('gt/{path:.+}.{image}', 'lq/{path}.{image}')
    """
    expressions = compile_pattern(lq).expressions
    if set(expressions) != set(compile_pattern(gt, lq).expressions):
        return None
    for name, expression in expressions.items():
        if f"{{{name}:{expression}}}" in lq:
            lq = lq.replace(f"{{{name}:{expression}}}", f"{{{name}}}")
            gt = gt.replace(f"{{{name}}}", f"{{{name}:{expression}}}", 1)
    return gt, lq


def place_text(pattern: str) -> str:
    """
    Return where the files of a pattern lie, for messages: their folder, or the pattern if it tells them by their names.

    >>> place_text("train/lq/{path:.+}.{image}"), place_text("{id}_lq.{image}")
    ('train/lq', '{id}_lq.{image}')
    """
    folder = re.sub(r"/[^/]*(\{.*)?$", "", re.sub(r"\{(dir|path):.*?\}", "{path}", pattern))
    return pattern if "{" in folder or folder == pattern else folder


def pairs_by_folders(images: Sequence[str]) -> Iterator[FoundPairs]:
    """Yield the best way to pair each LQ folder with each GT folder beside it, by the names of the folders."""
    places: dict[str, dict[str, set[str]]] = {"lq": defaultdict(set), "gt": defaultdict(set)}
    for folder in sorted({image.rpartition("/")[0] for image in images} - {""}):
        parts = folder.split("/")
        for index, name in enumerate(parts):
            if role := role_of_folder(name):
                places[role.kind][name].add("".join(part + "/" for part in parts[:index]))
    for lq, lq_places in places["lq"].items():
        role = role_of_folder(lq)
        assert role is not None
        alone = True
        for gt, gt_places in places["gt"].items():
            other = role_of_folder(gt)
            shared = lq_places & gt_places
            if other is None or not shared or role.rest != other.rest:
                continue
            alone = False
            yield from _best_of_places(images, lq, gt, shared, role)
        # The GT may lie directly in the folder that holds the LQ folder.
        if alone and role.is_sure and (found := best_pairs(images, lq, "", lq_places, role)) and found.pairs:
            yield found
    for gt, gt_places in places["gt"].items():
        other = role_of_folder(gt)
        if other is None or not other.is_sure or any(gt_places & lq_places for lq_places in places["lq"].values()):
            continue
        # Beside a GT folder, a single other folder holds the LQ, or the LQ lie directly there.
        beside = {
            image[len(place) :].rpartition("/")[0].partition("/")[0]
            for place in gt_places
            for image in images
            if image.startswith(place)
        } - {gt}
        if len(beside) == 1:
            lq = beside.pop()
            found = best_pairs(images, lq, gt, gt_places, Role("lq"))
            if found and found.is_full and (lq or found.is_equal):
                yield found


def _best_of_places(images: Sequence[str], lq: str, gt: str, places: set[str], role: Role) -> Iterator[FoundPairs]:
    """Yield the best way to pair two folders in all places; where their files are named differently, one for each."""
    found = best_pairs(images, lq, gt, places, role)
    if found is None:
        return
    if not found.is_full and len(places) > 1:
        each = [best_pairs(images, lq, gt, {place}, role) for place in sorted(places)]
        if all(one is None or one.is_full for one in each):
            yield from (one for one in each if one is not None)
            return
    yield found


def best_pairs(images: Sequence[str], lq: str, gt: str, places: set[str], role: Role) -> FoundPairs | None:
    """
    Return the best way to pair two folders: the simplest in which every LQ has a GT, else the one with most pairs.

    Args:
        images: all images.
        lq: name of the LQ folder; "" where the LQ lie directly in the place.
        gt: the same for the GT.
        places: paths of the folders that hold both, with a "/" at the end; "" for the top.
        role: of the LQ folder.

    Returns:
        None if one of them holds no image.
    """
    lqs = _below(images, places, lq)
    gts = _below(images, places, gt)
    if not lqs or not gts:
        return None
    heads = _heads(places, lq + "/" if lq else "", gt + "/" if gt else "")
    names = sorted({*lqs, *gts})
    best: FoundPairs | None = None
    for shape in shapes([stem(rest) for rest in lqs.values()], [stem(rest) for rest in gts.values()]):
        if not lq or not gt:
            # A path would also match the files of the other folder.
            shape = ("{id}", "{id}") if shape == EQUAL else shape
        rules = tuple((split, *_filled(shape, *folders)) for split, *folders in heads)
        pairs = pairs_by_patterns(rules, names)
        found = FoundPairs(rules, role.degradation, pairs, len(lqs), shape in (EQUAL, ("{id}", "{id}")))
        if found.is_full:
            return found
        if best is None or len(pairs) > len(best.pairs):
            best = found
    return best


def pairs_by_words(images: Sequence[str]) -> list[FoundPairs]:
    """Return the ways in which files of the same folders pair by words in their names, such as _lq and _gt."""
    by_name: dict[str, set[str]] = defaultdict(set)
    for image in images:
        folder, _, name = image.rpartition("/")
        by_name[stem(name)].add(folder + "/" if folder else "")
    names = sorted(by_name)
    found: list[FoundPairs] = []
    for shape in word_shapes(names, names):
        if shape[0] == "{id}":
            # GT with a mark and LQ without one: every other file would be an LQ.
            continue
        mark = re.compile("".join(_expression(part) for part in re.split(r"(\{\w+\})", shape[0])))
        marked = [name for name in names if mark.fullmatch(name)]
        places = {place for name in marked for place in by_name[name]}
        rules = tuple((split, *_filled(shape, lq, gt)) for split, lq, gt in _heads(places, "", ""))
        pairs = pairs_by_patterns(rules, images)
        if not pairs or 4 * len(pairs) < len(images):
            # Few of many: an album with a name or two that look like a pair.
            continue
        lqs = sum(len(by_name[name]) for name in marked)
        words = map(role_of_word, re.split(r"[^A-Za-z]+", shape[0]))
        implied = next((role.degradation for role in words if role), "")
        found.append(FoundPairs(rules, implied, pairs, max(lqs, len(pairs)), is_equal=False))
    return found


def _expression(part: str) -> str:
    return "[^/]+?" if part.startswith("{") else re.escape(part)


def _heads(places: set[str], lq: str, gt: str) -> list[tuple[Split, str, str]]:
    """Return split, and beginning of the patterns of LQ and GT, for each split that the folders above them name."""
    by_split: dict[Split, set[str]] = defaultdict(set)
    for place in places:
        by_split[split_of(f"{place}{lq}")].add(place)
    found: list[tuple[Split, str, str]] = []
    # A pair that two rules match belongs to the first: training comes last, because it takes what is left.
    for split in sorted(by_split, key=("test", "val", "train").index):
        inside = sorted(by_split[split])
        if len(inside) == 1 and not any(character in inside[0] for character in "{}*"):
            found.append((split, inside[0] + lq, inside[0] + gt))
        elif split == "train" or names_split(lq) or len(by_split) == 1:
            found.append((split, f"**/{lq}", f"**/{gt}"))
        else:
            parts = {part for place in inside for part in place.split("/")}
            named = {part for part in parts if names_split(part) and split_of(part) == split}
            either = "|".join(re.escape(part) for part in sorted(named))
            found.append((split, f"{{place:(?:.*/)?(?:{either})/(?:.*/)?}}{lq}", f"{{place}}{gt}"))
    return found


def _filled(shape: Shape, lq: str, gt: str) -> tuple[str, str]:
    return f"{lq}{shape[0]}.{{image}}", f"{gt}{shape[1]}.{{image}}"


def pairs_by_patterns(rules: Sequence[tuple[Split, str, str]], names: Sequence[str]) -> dict[str, str]:
    """Return the GT of each LQ by rules; empty if they are invalid, or give an LQ two GT."""
    written = tuple(PairRule(split, "noise", True, gt, lq) for split, lq, gt in rules)
    if any(rule_faults(rule) for rule in written):
        return {}
    found = find_pairs(_Rules("probe", written, ()), names, lambda _: "").pairs
    pairs = {pair.lq: pair.gt for pair in found}
    # An LQ with two GT, or a file that is both, is no pair.
    return pairs if len(pairs) == len(found) and not set(pairs) & set(pairs.values()) else {}


@dataclass(frozen=True)
class _Rules:
    """What `find_pairs` needs of a source."""

    id: str
    pairs: tuple[PairRule, ...]
    skip: tuple[Exclude, ...]


def _below(images: Sequence[str], places: set[str], name: str) -> dict[str, str]:
    """Return the images in a folder of this name in one of the places, with their paths below it."""
    fronts = tuple(place + name + "/" if name else place for place in places)
    found = {}
    for image in images:
        for front in fronts:
            if image.startswith(front) and (name or "/" not in image[len(front) :]):
                found[image] = image[len(front) :]
    return found


def stem(path: str) -> str:
    """Return a path without the suffix of its file."""
    return path.rpartition(".")[0]
