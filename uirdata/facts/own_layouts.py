"""What the names in a user's folder say: which files form pairs, and what is not certain, which is never guessed."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from uirdata.facts.own_pairs import FoundPairs, best_pairs, pair_option, pairs_by_folders, pairs_by_words, stem
from uirdata.facts.own_words import Role, is_surely_degraded, kinds_in, role_of_folder

CLEAN_OPTION = "--clean"


@dataclass(frozen=True)
class Recognition:
    """
    What the names in a folder say.

    Attributes:
        found: rules to use, which do not contradict each other; empty for clean photographs.
        doubt: why it is not certain, with the options that say what is meant; "" where it is.
    """

    found: tuple[FoundPairs, ...] = ()
    doubt: str = ""


def recognise(images: Sequence[str], folder_name: str) -> Recognition:
    """
    Return which files of a folder form pairs.

    Args:
        images: paths of the images below it, with "/".
        folder_name: name of the folder itself.
    """
    candidates = list(pairs_by_folders(images))
    covered = {path for found in candidates if found.is_full for pair in found.pairs.items() for path in pair}
    candidates += pairs_by_words([name for name in images if name not in covered])
    usable: list[FoundPairs] = []
    partial: list[FoundPairs] = []
    for found in _distinct(candidates):
        enough = found.is_full or (found.is_equal and 2 * len(found.pairs) >= found.lqs)
        (usable if enough and found.pairs else partial).append(found)
    if doubt := _contradiction(usable):
        return Recognition(doubt=doubt)
    taken = {lq for found in usable for lq in found.pairs}
    for found in partial:
        if not taken.issuperset(found.pairs) or not found.pairs:
            return Recognition(doubt=_partial_doubt(found))
    if usable:
        return Recognition(tuple(usable))
    return Recognition(doubt=_doubt_of_clean(images, folder_name))


def pairs_of_folders(images: Sequence[str], lq: str, gt: str) -> Recognition:
    """Return how the files of two folders pair, which the user has named as those of the LQ and of the GT."""
    found = best_pairs(images, lq, gt, {""}, Role("lq"))
    if found is None:
        empty = next((name for name in (lq, gt) if not any(image.startswith(f"{name}/") for image in images)), "")
        return Recognition(doubt=f"{empty} holds no image" if empty else "")
    if not found.pairs or not (found.is_full or found.is_equal):
        return Recognition(doubt=_partial_doubt(found))
    return Recognition((found,))


def _distinct(candidates: Sequence[FoundPairs]) -> list[FoundPairs]:
    """Return the candidates without those whose pairs another one has, too."""
    found: list[FoundPairs] = []
    for candidate in sorted(candidates, key=lambda c: (not c.is_full, -len(c.pairs))):
        pairs = set(candidate.pairs.items())
        if not any(pairs and pairs <= set(other.pairs.items()) for other in found):
            found.append(candidate)
    return found


def _contradiction(candidates: Sequence[FoundPairs]) -> str:
    """Return the doubt about candidates that give an LQ two GT, or use a file as LQ and as GT; "" if there are none."""
    for index, one in enumerate(candidates):
        for other in candidates[index + 1 :]:
            twice = any(one.pairs[lq] != other.pairs[lq] for lq in one.pairs.keys() & other.pairs.keys())
            both = one.pairs.keys() & set(other.pairs.values()) or other.pairs.keys() & set(one.pairs.values())
            if twice or both:
                return (
                    "its files can be paired in more than one way; run the same command again with one of: "
                    f"{one.options}, or {other.options}"
                )
    return ""


def _partial_doubt(found: FoundPairs) -> str:
    _, lq, gt = found.rules[0]
    if found.pairs:
        return (
            f"by their names, {len(found.pairs):,} of {found.lqs:,} LQ have a GT. To take these, run the same command "
            f"again with {found.options}; or write the two patterns so that they fit all, with {{id}} where the names "
            "of LQ and GT are equal"
        )
    lq, gt = (re.sub(r"\{[^i].*|\{id.*", "{id}.{image}", text) for text in (lq, gt))
    return (
        "it looks like LQ and GT, but no LQ has the name of a GT. Run the same command again with "
        f"{pair_option(lq, gt)} --degradation {found.degradation or 'TYPE'}, completed so that {{id}} stands where the "
        "names of LQ and GT are equal"
    )


def _doubt_of_clean(images: Sequence[str], folder_name: str) -> str:
    """Return why images may not be clean photographs; "" if nothing says so."""
    meant = f"if all are clean photographs, run the same command again with {CLEAN_OPTION}"
    for image in images:
        parts = image.split("/")[:-1]
        for index, part in enumerate(parts):
            if (role := role_of_folder(part)) and role.kind == "lq" and role.is_sure:
                place = "/".join(parts[: index + 1])
                return (
                    f"{place} holds degraded images, by its name, and no folder of their GT was found. For pairs, run "
                    f"the same command again with {pair_option(f'{place}/{{id}}.{{image}}', 'GT/{id}.{image}')} "
                    f"--degradation {role.degradation or 'TYPE'}, with your own folder for GT; {meant}"
                )
    marked = [image for image in images if is_surely_degraded(image.rpartition("/")[2])]
    if is_surely_degraded(folder_name) or 2 * len(marked) > len(images):
        what = f"files such as {marked[0]}" if 2 * len(marked) > len(images) else f"the images of {folder_name}"
        return (
            f"{what} are degraded, by the name, and no GT was found. For pairs, give the folder that holds both LQ and "
            f"GT, or --pair with a pattern of the LQ and one of the GT; {meant}"
        )
    kinds = {image: kinds_in(image.rpartition("/")[2]) for image in images}
    lqs, gts = ([image for image in images if kinds[image] == {kind}] for kind in ("lq", "gt"))
    if len(lqs) > 1 and len(gts) > 1 and 2 * (len(lqs) + len(gts)) > len(images):
        sides = [{image.rpartition("/")[0] for image in side} for side in (lqs, gts)]
        options = f"{pair_option(lqs[0], gts[0])} --degradation TYPE, with {{id}} in both where their names are equal"
        if all(len(side) == 1 and side != {""} for side in sides):
            best = best_pairs(images, sides[0].pop(), sides[1].pop(), {""}, Role("lq"))
            options = best.options if best and best.pairs else options
        return (
            f"files such as {lqs[0]} are LQ by their names, and files such as {gts[0]} are GT, but their folders do "
            f"not say so. Run the same command again with {options}; {meant}"
        )
    if twins := _twins(images):
        folders, number = twins
        roles = {folder: role_of_folder(folder.rpartition("/")[2]) for folder in folders}
        gts = [folder for folder, role in roles.items() if role is not None and role.kind == "gt"]
        first, second = folders[:2]
        turns = [(lq, gts[0]) for lq in folders if lq != gts[0]] if gts else [(first, second), (second, first)]
        ways = [pair_option(_in(lq, "{path:.+}.{image}"), _in(gt, "{path}.{image}")) for lq, gt in turns[:3]]
        named = ", ".join(folder or "the folder itself" for folder in folders)
        return (
            f"{named} hold {number:,} files of equal names, as the LQ and GT of pairs do. For pairs, run the same "
            f"command again with --degradation TYPE and, LQ first, {', or '.join(ways)}; {meant}"
        )
    return ""


def _in(folder: str, pattern: str) -> str:
    if folder:
        return f"{folder}/{pattern}"
    # Directly in the folder: a path would match the other folder, too.
    return pattern.replace("{path:.+}", "{path:[^/]+}")


def _twins(images: Sequence[str]) -> tuple[list[str], int] | None:
    """
    Return folders beside each other of which half of the smallest one's files have a namesake in the others.

    Two photographs of an album may share a name by chance; so one shared name counts only between folders of one file.

    Returns:
        At most four of the folders, "" for the top, and the number of names that two of them share.
    """
    inside: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for image in images:
        names = image.split("/")
        lower = stem(image).lower().split("/")
        for index in range(len(names) - 1):
            inside["/".join(names[:index])]["/".join(names[: index + 1])].add("/".join(lower[index + 1 :]))
        inside["/".join(names[:-1])]["/".join(names[:-1])].add(lower[-1])
    for parent in sorted(inside):
        folders = inside[parent]
        holders: dict[str, list[str]] = defaultdict(list)
        for folder, stems in folders.items():
            for each in stems:
                holders[each].append(folder)
        shared: Counter[tuple[str, str]] = Counter()
        for having in holders.values():
            # Of hundreds of folders with the same names, such as frames of videos, neighbours are enough.
            shared.update(itertools.pairwise(having))
        twins: dict[str, int] = {}
        for (one, other), number in shared.most_common():
            sizes = len(folders[one]), len(folders[other])
            if 2 * number >= min(sizes) and (number > 1 or sizes == (1, 1)):
                twins.setdefault(one, number)
                twins.setdefault(other, number)
        if twins:
            return list(twins)[:4], max(twins.values())
    return None
