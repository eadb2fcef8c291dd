"""A part of a subset: some of its degradations, some of their levels, another number of LQ an image."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from uirdata.degradations import DEGRADATIONS
from uirdata.errors import UsageError, nearest
from uirdata.sources import Source
from uirdata.subsets import Subset, Use


@dataclass(frozen=True)
class Narrowing:
    """
    What of a subset is made.

    Attributes:
        degradations: names of degradations; empty for all of the subset.
        levels: patterns of level names, such as "gaussian-*"; empty for those of the subset. Degradations without such
            a level are left out, unless they are named; so are published pairs, which have the levels of their files.
        per_image: LQ that are made of each crop of a clean image; None for that of the subset.
    """

    degradations: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    per_image: int | None = None


def narrowed(subset: Subset, by: Narrowing, sources: Sequence[Source] = ()) -> Subset:
    """
    Return the part of a subset that is asked for, under its name; labels keep their order.

    Args:
        subset: the whole.
        by: what is asked for.
        sources: the sources of the subset, whose published pairs have no levels to choose.

    Raises:
        UsageError: the subset lacks a degradation, or no level has a name of a pattern; the message suggests one.
    """
    if by == Narrowing():
        return subset
    if by.per_image is not None and by.per_image < 1:
        raise UsageError(f"per_image is {by.per_image}; expected at least 1")
    for name in by.degradations:
        if name not in subset.degradations:
            raise UsageError(f"{subset.name} has no degradation {name!r}: {nearest(name, subset.degradations)}")
    wanted = by.degradations or subset.degradations
    published = {(s.id, rule.degradation) for s in sources for rule in s.pairs if rule.lq}
    uses = [use for use in subset.uses if use.degradation in wanted]
    known = {name for use in uses for name in _levels_of(use, published)}
    if by.levels and not known:
        raise UsageError(
            f"no level of {', '.join(wanted)} can be chosen in {subset.name}: its pairs are published files, which are "
            "taken as they are; leave --level out"
        )
    for pattern in by.levels:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UsageError(
                f"no level of {', '.join(wanted)} is called {pattern!r}: {nearest(pattern, sorted(known))}"
            )
    kept: list[Use] = []
    for use in uses:
        levels = use.levels
        if by.levels:
            fits = tuple(name for name in _levels_of(use, published) if any(fnmatchcase(name, p) for p in by.levels))
            # A pattern narrows the degradations that have such levels. Others stay whole if they are asked for by name.
            if not fits and not by.degradations:
                continue
            levels = fits or levels
        kept.append(replace(use, levels=levels, per_image=by.per_image or use.per_image))
    made = {use.degradation for use in kept}
    classes = tuple(types for types in subset.classes if made & set(types))
    return replace(subset, classes=classes, uses=tuple(dict.fromkeys(kept)))


def _levels_of(use: Use, published: Collection[tuple[str, str]]) -> tuple[str, ...]:
    if use.levels or (use.source, use.degradation) in published:
        return use.levels
    return tuple(level.name for level in DEGRADATIONS[use.degradation].levels)
