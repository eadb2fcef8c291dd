"""
Published sources that lie unpacked in a user's folder, in any of the layouts that their manifests know.

All sources are looked for, also those that were not asked for: what looks like two sources (SOTS beside OTS, BSD400
beside CBSD68) is given to the one whose rule names it most exactly, so a test set is never taken for training data.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from os.path import commonpath
from pathlib import Path, PurePosixPath

from uirdata.facts.own_words import cannot_be_clean
from uirdata.manifest_syntax.pair_rules import PairRule
from uirdata.manifest_syntax.patterns import PREFIX, compile_pattern, is_image_name
from uirdata.pairing import CUT_HERE, HERE_TOO, Pair, Pairing, find_pairs
from uirdata.pipeline.fetching.user_folder import UserFolder
from uirdata.sources import Source


@dataclass(frozen=True)
class TreePart:
    """
    Pairs of a source that lie in one layout.

    Attributes:
        split: train, val or test.
        degradation: their type; "" for clean images.
        layout: whose layout it is; "" for that of the source's authors.
        folders: where they lie, below the user's folder; one for the LQ and one for the GT where they differ.
        pairs: how many were found.
        published: how many the authors state; None if unknown.
        cut: they are crops that somebody has cut.
    """

    split: str
    degradation: str
    layout: str
    folders: tuple[str, ...]
    pairs: int
    published: int | None
    cut: bool


@dataclass(frozen=True)
class GivenTree:
    """
    The unpacked files of a source in the user's folder.

    Attributes:
        root: the folder that the paths are relative to.
        paths: files that match the rules of the source, sorted.
        pairs: number of their pairs.
        bytes: their size in bytes.
        parts: what was found, by split, type and layout.
    """

    root: Path
    paths: tuple[str, ...]
    pairs: int
    bytes: int
    parts: tuple[TreePart, ...] = ()


@dataclass(frozen=True)
class Unwanted:
    """
    Files of the user's folder that were not taken.

    Attributes:
        folder: their folder below the user's folder; "." is that folder.
        suffix: their suffix, in lower case.
        files: how many.
        belongs: id of the source that they look like, which was not asked for; "" if none does.
        reason: why they cannot be used, and what to do; "" if nothing is wrong with them.
    """

    folder: str
    suffix: str
    files: int
    belongs: str = ""
    reason: str = ""


@dataclass(frozen=True)
class FoundTrees:
    """
    What a user's folder holds unpacked.

    Attributes:
        trees: by the id of the source.
        doubts: by the id of the source, why files that look like it were not taken.
        unwanted: images that no tree takes, by folder and suffix.
    """

    trees: Mapping[str, GivenTree]
    doubts: Mapping[str, tuple[str, ...]]
    unwanted: tuple[Unwanted, ...]


_Claim = tuple[int, str, str, str]
"""How exactly a rule names a file; id of its source; split and degradation."""


def find_trees(wanted: Sequence[Source], known: Iterable[Source], given: UserFolder) -> FoundTrees:
    """
    Return the unpacked files of sources in a user's folder, from one walk over it.

    A folder DIR/<id> holds that source, by any of its rules. All other files are looked for by the rules that are exact
    enough to recognise them anywhere, or, where one source alone is asked for, by all of its rules.

    Args:
        wanted: the sources to look for.
        known: all sources that a file may belong to.
        given: the user's folder.
    """
    sizes = dict(given.names_below(given.folder))
    own = {source.id for source in wanted if any(name.startswith(source.id + "/") for name in sizes)}
    shared = {name: size for name, size in sizes.items() if name.partition("/")[0] not in own}
    alone = wanted[0].id if len(wanted) == 1 and not own else ""
    trees: dict[str, GivenTree] = {}
    doubts: dict[str, tuple[str, ...]] = {}
    for source in wanted:
        if source.id in own:
            tree, doubt = _tree_of(source, given, given.folder / source.id)
            if tree is not None:
                trees[source.id] = tree
            doubts[source.id] = doubt
    claims = _claims(given, shared, [source for source in known if source.pairs], alone)
    for source in wanted:
        if source.id in own:
            continue
        names, doubt = _names_for(source, claims)
        tree, more = _tree_of(_searched(source, alone == source.id), given, given.folder, names)
        if tree is not None:
            trees[source.id] = tree
        doubts[source.id] = (*doubt, *more)
    taken = {(tree.root / path).relative_to(given.folder).as_posix() for tree in trees.values() for path in tree.paths}
    wanted_ids = {source.id for source in wanted}
    unwanted = (*_unwanted(sizes, taken, claims, wanted_ids), *_misnamed(given))
    return FoundTrees(trees, doubts, unwanted)


def expected_layouts(source: Source) -> tuple[str, ...]:
    """Return what the folders of a source look like, one text for each layout that its rules know."""
    shown = []
    for rule in source.pairs:
        patterns = " with ".join(_plain(pattern) for pattern in (rule.lq, rule.gt) if pattern)
        number = f" ({rule.published:,})" if rule.published else ""
        shown.append(patterns + number + (f" as {rule.layout} has it" if rule.layout else ""))
    return tuple(dict.fromkeys(shown))


def _plain(pattern: str) -> str:
    """Return a pattern as a reader of messages knows it: holes become *, the alternatives stay."""
    text = re.sub(r"\{image\}", "*", pattern)
    # The expression of a hole may have one level of braces, as in \d{4}.
    return re.sub(r"\{[A-Za-z0-9_]*:(?:[^{}]|\{[^{}]*\})*\}|\{[A-Za-z0-9_]+\}", "*", text)


def _searched(source: Source, alone: bool) -> Source:
    """Return a source with the rules by which it is looked for among other data."""
    return source if alone else replace(source, pairs=tuple(rule for rule in source.pairs if not rule.general))


@dataclass(frozen=True)
class _Claims:
    """
    Which sources a file may belong to.

    Attributes:
        paired: for each file of a pair, the rules that found it, the most exact ones only.
        matched: for each file that a rule matches, whether or not it has a partner, the ids of the sources.
    """

    paired: Mapping[str, Sequence[_Claim]]
    matched: Mapping[str, set[str]]


def _claims(given: UserFolder, names: Iterable[str], sources: Sequence[Source], alone: str) -> _Claims:
    """Apply every rule of every source by itself to the files of the user's folder."""
    paired: dict[str, list[_Claim]] = {}
    matched: dict[str, set[str]] = defaultdict(set)
    every = list(names)
    images = [name for name in every if is_image_name(name)]

    def read_text(name: str) -> str:
        return (given.folder / name).read_text(encoding="utf-8", errors="replace")

    for source in sources:
        for rule in _searched(source, alone == source.id).pairs:
            patterns = [compile_pattern(rule.lq)] if rule.lq else []
            patterns += [compile_pattern(rule.gt, rule.lq)] if rule.gt else []
            mine = [name for name in images if any(pattern.match(name) is not None for pattern in patterns)]
            if not rule.lq:
                mine = [name for name in mine if not _cannot_be_clean(name)]
            if not mine:
                continue
            lists = [name for name in every if rule.list and compile_pattern(rule.list).match(name) is not None]
            for name in mine:
                matched[name].add(source.id)
            claim = (_exactness(rule.lq, rule.gt), source.id, rule.split, rule.degradation)
            for pair in find_pairs(replace(source, pairs=(rule,)), [*mine, *lists], read_text).pairs:
                for name in filter(None, (pair.lq, pair.gt)):
                    claims = paired.setdefault(name, [])
                    if claims and claims[0][0] < claim[0]:
                        claims.clear()
                    if (not claims or claims[0][0] == claim[0]) and claim not in claims:
                        claims.append(claim)
    return _Claims(paired, matched)


def _cannot_be_clean(name: str) -> bool:
    return cannot_be_clean(name.rpartition("/")[0])


@lru_cache(maxsize=4096)
def _exactness(lq: str, gt: str) -> int:
    """Return how exactly the patterns of a rule name a path: the number of letters that every match contains."""
    return sum(len(re.findall("[A-Za-z]", _shortest(pattern.rpartition(".")[0]))) for pattern in (lq, gt))


def _shortest(pattern: str) -> str:
    """Return a pattern with the shortest of each choice of texts, and without what stands for any text."""
    text = re.sub(r"\{image\}|\{[A-Za-z0-9_]+\}", "", pattern)
    text = re.sub(r"\\[a-z]|\{\d+(?:,\d*)?\}|\[[^\]]*\][+*?]?|\([^()]*\)\?", "", text)

    def choice(hole: re.Match[str]) -> str:
        _, colon, expression = hole[1].rpartition(":")
        texts = (expression if colon else hole[1]).split("|" if colon else ",")
        return min((re.sub("[^A-Za-z]", "", text) for text in texts), key=len)

    return re.sub(r"\{([^{}]*)\}", choice, text)


def _names_for(source: Source, claims: _Claims) -> tuple[list[str], tuple[str, ...]]:
    """Return the files that may be of a source, and why others that look like it are not taken."""
    # Files without a partner are named as such where they look like no other source.
    names = [name for name, ids in claims.matched.items() if name not in claims.paired and ids == {source.id}]
    rivals: Counter[tuple[str, ...]] = Counter()
    for name, found in claims.paired.items():
        mine = [claim for claim in found if claim[1] == source.id]
        if not mine:
            continue
        # Two sources may hold the same images in the same role, as two repacks of one test set do.
        others = {claim[1] for claim in found if claim[1] != source.id and claim[2:] not in [c[2:] for c in mine]}
        if others:
            rivals[tuple(sorted(others))] += 1
        else:
            names.append(name)
    doubts = tuple(
        f"{number} images may as well be of {' or '.join(others)}: put those of {source.id} into a folder "
        f"{source.id}, or ask for it alone"
        for others, number in rivals.items()
    )
    return names, doubts


def _tree_of(
    source: Source, given: UserFolder, root: Path, names: Sequence[str] | None = None
) -> tuple[GivenTree | None, tuple[str, ...]]:
    """Return the files of a source below a folder, and why there are none although some look like it."""
    sizes = dict(given.names_below(root))

    def read_text(name: str) -> str:
        return (root / name).read_text(encoding="utf-8", errors="replace")

    lists = [name for name in sizes if _is_list_of(source, name)]
    kept = sorted(sizes) if names is None else sorted({*names, *lists})
    if not any(rule.lq for rule in source.pairs):
        kept = [name for name in kept if not _cannot_be_clean(name)]
    pairing = find_pairs(source, kept, read_text)
    if names is not None:
        twice = _second_copies(source, pairing)
        if twice:
            pairing = find_pairs(source, [name for name in kept if name not in twice], read_text)
    else:
        twice = set()
    if not pairing.pairs:
        reasons = Counter(left.reason.partition(":")[0] for left in pairing.left_out)
        return None, tuple(f"{number:,} images look like it, but {reason}" for reason, number in reasons.items())
    parts = _parts(source, pairing, root.relative_to(given.folder).as_posix())
    if surplus := [part for part in parts if names is not None and _is_of_another(source, part)]:
        return None, tuple(
            f"{', '.join(part.folders)} holds {part.pairs:,} pairs, and {source.id} has {part.published:,}: they are "
            f"of another data set, or several lie there; put those of {source.id} into a folder {source.id}"
            for part in surplus
        )
    again = {left.path for left in pairing.left_out if left.reason == CUT_HERE or left.reason.startswith(HERE_TOO)}
    paths = {path for pair in pairing.pairs for path in (pair.gt, pair.lq) if path}
    paths |= {left.path for left in pairing.left_out} - again
    paths |= set(lists)
    tree = GivenTree(root, tuple(sorted(paths)), len(pairing.pairs), sum(sizes[path] for path in paths), parts)
    copies = sorted(twice | again)
    said = f"{len(copies):,} files hold the same images a second time, such as {copies[0]}" if copies else ""
    return tree, (said,) if said else ()


def _is_of_another(source: Source, part: TreePart) -> bool:
    """Return whether more was found than a source has, by rules so general that they may match other data."""
    rules = [rule for rule in source.pairs if (rule.split, rule.degradation) == (part.split, part.degradation)]
    is_general = any(rule.general and rule.layout == part.layout for rule in rules)
    return is_general and part.published is not None and not part.cut and part.pairs > part.published


def _second_copies(source: Source, pairing: Pairing) -> set[str]:
    """Return the files of pairs that one rule finds in two folders under the same names, but for the first folder."""
    seen: set[tuple[object, ...]] = set()
    copies: set[str] = set()
    for pair in sorted(pairing.pairs, key=lambda pair: (pair.lq, pair.gt)):
        rule = _rule_of(source, pair)
        pattern = compile_pattern(rule.lq or rule.gt)
        values = pattern.match(pair.lq or pair.gt) or ()
        named = tuple(value for hole, value in zip(pattern.holes, values, strict=True) if hole != PREFIX)
        identity = (pair.split, pair.degradation, rule.lq, rule.gt, named)
        if named and identity in seen:
            copies.add(pair.lq or pair.gt)
        seen.add(identity)
    return copies


def _is_list_of(source: Source, name: str) -> bool:
    return any(rule.list and compile_pattern(rule.list).match(name) is not None for rule in source.pairs)


def _parts(source: Source, pairing: Pairing, below: str) -> tuple[TreePart, ...]:
    """
    Return the pairs by split, type and layout. A pair is of the first rule that matches its files, as in pairing.

    Args:
        source: whose pairs they are.
        pairing: its pairs.
        below: the folder that their paths begin in, below the user's folder.
    """
    groups: dict[tuple[str, str, str, bool], list[Pair]] = defaultdict(list)
    for pair in pairing.pairs:
        rule = _rule_of(source, pair)
        groups[(pair.split, pair.degradation, rule.layout, pair.cut)].append(pair)
    published: Counter[tuple[str, str]] = Counter()
    for (split, degradation, _), number in source.published().items():
        published[(split, degradation)] += number
    return tuple(
        TreePart(
            split,
            degradation,
            layout,
            tuple(
                dict.fromkeys(
                    (PurePosixPath(below) / _folder([p for p in paths if p])).as_posix()
                    for paths in ([x.lq for x in some], [x.gt for x in some])
                    if any(paths)
                )
            ),
            len(some),
            published.get((split, degradation)),
            cut,
        )
        for (split, degradation, layout, cut), some in groups.items()
    )


def _rule_of(source: Source, pair: Pair) -> PairRule:
    for rule in source.pairs:
        if (rule.cut, rule.degradation) != (pair.cut, pair.degradation):
            continue
        fits = [
            compile_pattern(pattern, like).match(path) is not None
            for pattern, like, path in ((rule.lq, "", pair.lq), (rule.gt, rule.lq, pair.gt))
            if pattern
        ]
        if all(fits):
            return rule
    return source.pairs[0]


def _folder(paths: Sequence[str]) -> str:
    return commonpath([str(PurePosixPath(path).parent) for path in paths]) or "."


def _unwanted(sizes: Mapping[str, int], taken: set[str], claims: _Claims, wanted: set[str]) -> tuple[Unwanted, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for name in sizes:
        if name in taken:
            continue
        ids = sorted({claim[1] for claim in claims.paired.get(name, ())} - wanted)
        path = PurePosixPath(name)
        counts[(str(path.parent), path.suffix.lower(), ids[0] if len(ids) == 1 else "")] += 1
    return tuple(
        Unwanted(folder, suffix, number, belongs) for (folder, suffix, belongs), number in sorted(counts.items())
    )


def _misnamed(given: UserFolder) -> list[Unwanted]:
    counts = Counter((str(PurePosixPath(n).parent), PurePosixPath(n).suffix.lower()) for n in given.misnamed)
    reason = "their names are not UTF-8; rename them, such as with `convmv -f latin1 -t utf8 -r --notest DIR`"
    return [Unwanted(folder, suffix, number, reason=reason) for (folder, suffix), number in sorted(counts.items())]
