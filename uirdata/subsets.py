"""Ordered choices of degradations and sources: what is built and trained together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from uirdata.errors import ManifestError, UsageError, nearest
from uirdata.manifest_syntax.pair_rules import TYPES, Split, can_have_level
from uirdata.manifest_syntax.typed_toml import STRICT, read_toml, typed
from uirdata.sources import MANIFESTS, Source, load_sources, manifest_paths


@dataclass(frozen=True)
class Use:
    """
    The part of a source that a subset uses.

    Attributes:
        source: id of the source.
        degradation: published pairs of this type, or the type to synthesise from clean images.
        split: train, val or test.
        levels: names of the levels to make; empty for all levels of the type. Of published pairs, only those with these
            levels are kept; empty for all.
        per_image: how many LQ are made of each crop of a clean image.
        size: of crops, in pixels; 0 takes images whole; None uses the source's value.
        stride: distance from one crop to the next, in pixels; None uses the source's value, or `size`.
    """

    source: str
    degradation: str
    split: Split
    levels: tuple[str, ...] = ()
    per_image: int = 1
    size: int | None = None
    stride: int | None = None


@dataclass(frozen=True)
class Subset:
    """
    An ordered choice of degradations and sources.

    >>> five = load_subset("5d")
    >>> five.class_names, five.class_names.index("noise")
    (('haze', 'rain-streak', 'noise', 'motion-blur', 'low-light'), 2)

    Attributes:
        name: such as "5d".
        title: what it is, in a sentence.
        classes: the labels in order; degradations in one entry share a label.
        repeat: how often a training epoch uses each sample of a degradation; 1 if not named.
        uses: the parts of sources to build.
        no_reference: sources of test images without a GT: downloaded with the subset, never built.
    """

    name: str
    title: str
    classes: tuple[tuple[str, ...], ...]
    repeat: Mapping[str, int]
    uses: tuple[Use, ...]
    no_reference: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of its sources, each once, in the order of the uses."""
        return tuple(dict.fromkeys([*(use.source for use in self.uses), *self.no_reference]))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels: the degradations, joined by "+" if they share one."""
        return tuple("+".join(types) for types in self.classes)

    @property
    def degradations(self) -> tuple[str, ...]:
        """All its degradations, in label order."""
        return tuple(name for types in self.classes for name in types)


def load_subset(name: str, sources: Mapping[str, Source] | None = None, extra: Sequence[Path] = ()) -> Subset:
    """
    Return a subset by name. The id of a source is also the name of a subset of only that source.

    >>> load_subset("sample").sources, load_subset("gopro").degradations
    (('sample',), ('motion-blur',))

    Args:
        name: such as "5d" or "gopro".
        sources: all sources, from `load_sources`; read here if they are needed and not given.
        extra: folders with further subsets.toml and manifests.

    Raises:
        UsageError: there is no such subset; the message suggests the most similar name.
        ManifestError: a subsets.toml is invalid, or the subset names a source that is not known or a level that no pair
            of `sources` can have.
    """
    found, files = _read_subsets(extra)
    if name in found:
        # Of this subset alone: another one of the file may name a folder that `uir fetch --from` is still to add.
        _check_sources(found[name], files[name], manifest_paths(extra) if sources is None else sources)
        faults = [fault for use in found[name].uses for fault in _level_faults(use, sources or {})]
        if faults:
            raise ManifestError(f"{files[name]}: the subset {name}: " + "; ".join(faults))
        return found[name]
    known = load_sources(extra) if sources is None else sources
    if name in known:
        return subset_of(known[name])
    raise UsageError(f"there is no subset or source {name!r}: {_nearest(name, found, known)}")


def load_subsets(extra: Sequence[Path] = ()) -> Mapping[str, Subset]:
    """
    Return all subsets of the subsets.toml files, by name.

    Raises:
        ManifestError: a subsets.toml is invalid.
    """
    return MappingProxyType(_read_subsets(extra)[0])


def _read_subsets(extra: Sequence[Path]) -> tuple[dict[str, Subset], dict[str, Path]]:
    """Return the subsets by name, and the file of each."""
    found: dict[str, Subset] = {}
    files: dict[str, Path] = {}
    for folder in (MANIFESTS, *extra):
        path = folder / "subsets.toml"
        if folder != MANIFESTS and not path.exists():
            continue
        for entry in typed(read_toml(path), _File, name=str(path)).subset:
            if entry.name in found:
                raise ManifestError(f"{path}: there is a subset {entry.name!r} already")
            found[entry.name], files[entry.name] = _resolve(entry, found, path), path
    return found, files


def _check_sources(subset: Subset, path: Path, known: Iterable[str]) -> None:
    ids = list(known)
    for name in subset.sources:
        if name not in ids:
            hint = nearest(name, ids)
            if not hint.startswith("did you mean"):
                # A list of eighty ids would make the message unreadable.
                hint = "`uir sources` lists what there is."
            raise ManifestError(
                f"{path}: the subset {subset.name} names the source {name!r}, which has no manifest: {hint} That of a "
                "source of your own lies in a folder that UIR_MANIFESTS names, or in ROOT/manifests"
            )


def subset_of(source: Source) -> Subset:
    """
    Return the subset of one source: its published pairs, and every type that can be synthesised from its clean images.

    Raises:
        UsageError: it has neither, only test images without a GT.
    """
    # Imported here: the operations need OpenCV, which is slow to import and not needed to list sources.
    from uirdata.degradations import DEGRADATIONS

    uses: dict[Use, None] = {}
    for rule in source.pairs:
        splits: tuple[Split, ...] = (rule.split, "test") if rule.test_share else (rule.split,)
        names = (rule.degradation,) if rule.lq else tuple(d.name for d in DEGRADATIONS.values() if d.levels)
        if rule.gt:
            uses.update(dict.fromkeys(Use(source.id, name, split) for split in splits for name in names))
    if not uses:
        raise UsageError(f"{source.id} has no GT: its images can be restored, but there is nothing to build of them")
    types = {use.degradation for use in uses}
    order = [name for name in TYPES if name in types] + sorted(types.difference(TYPES))
    return Subset(source.id, source.title, tuple((name,) for name in order), {}, tuple(uses))


def merge_subsets(subsets: Sequence[Subset]) -> Subset:
    """Return the union of subsets under their joined names; labels are in the order of the nineteen types."""
    if len(subsets) == 1:
        return subsets[0]
    classes = dict.fromkeys(types for subset in subsets for types in subset.classes)
    order = sorted(classes, key=lambda types: TYPES.index(types[0]) if types[0] in TYPES else len(TYPES))
    return Subset(
        "+".join(subset.name for subset in subsets),
        "; ".join(subset.title for subset in subsets),
        tuple(order),
        {name: times for subset in subsets for name, times in subset.repeat.items()},
        tuple(dict.fromkeys(use for subset in subsets for use in subset.uses)),
    )


@dataclass(frozen=True)
class _UseEntry:
    """A [[subset.use]] of the file: every source in every split with every degradation."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    sources: tuple[str, ...]
    degradations: tuple[str, ...]
    splits: tuple[Split, ...]
    levels: tuple[str, ...] = ()
    per_image: int = 1
    size: int | None = None
    stride: int | None = None

    def uses(self) -> Iterable[Use]:
        for degradation in self.degradations:
            for source in self.sources:
                for split in self.splits:
                    yield Use(source, degradation, split, self.levels, self.per_image, self.size, self.stride)


@dataclass(frozen=True)
class _SubsetEntry:
    """A [[subset]] of the file. `include` names earlier subsets, whose classes, repeats and uses come first."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    name: str
    title: str
    classes: tuple[tuple[str, ...], ...] = ()
    repeat: dict[str, int] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    no_reference: tuple[str, ...] = ()
    use: tuple[_UseEntry, ...] = ()


@dataclass(frozen=True)
class _File:
    """A subsets.toml."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    subset: tuple[_SubsetEntry, ...] = ()


def _resolve(entry: _SubsetEntry, earlier: Mapping[str, Subset], path: Path) -> Subset:
    classes: list[tuple[str, ...]] = []
    repeat: dict[str, int] = {}
    uses: dict[Use, None] = {}
    no_reference: list[str] = []
    for name in entry.include:
        if name not in earlier:
            raise ManifestError(
                f"{path}: {entry.name} includes {name!r}, which is not defined above it: {nearest(name, earlier)}"
            )
        classes += [types for types in earlier[name].classes if types not in classes]
        repeat |= earlier[name].repeat
        uses |= dict.fromkeys(earlier[name].uses)
        no_reference += earlier[name].no_reference
    classes += entry.classes
    repeat |= entry.repeat
    uses |= dict.fromkeys(use for item in entry.use for use in item.uses())
    subset = Subset(
        entry.name,
        entry.title,
        tuple(classes),
        MappingProxyType(repeat),
        tuple(uses),
        (*no_reference, *entry.no_reference),
    )
    faults = list(_faults(subset))
    if faults:
        raise ManifestError(f"{path}: {entry.name}: " + "; ".join(faults))
    return subset


def _faults(subset: Subset) -> Iterable[str]:
    named = subset.degradations
    for name in named:
        if name not in TYPES:
            yield f"there is no degradation {name!r}: {nearest(name, TYPES)}"
        if named.count(name) > 1:
            yield f"{name} is in two classes"
    for name, times in subset.repeat.items():
        if name not in named:
            yield f"repeat names {name!r}, which is in no class"
        if times < 1:
            yield f"repeat of {name} is {times}, expected 1 or more"
    for use in subset.uses:
        if use.degradation not in named:
            yield f"the use of {use.source} names {use.degradation!r}, which is in no class"
        if use.per_image < 1:
            yield f"per_image of {use.source} is {use.per_image}, expected 1 or more"
        if (use.size or 0) < 0 or (use.stride is not None and use.stride < 1):
            yield f"size and stride of {use.source} are {use.size} and {use.stride}, expected pixels"


def _level_faults(use: Use, sources: Mapping[str, Source]) -> Iterable[str]:
    """Yield what is wrong with the levels of a use: of published pairs, or of images that are degraded here."""
    rules = [
        rule
        for rule in (sources[use.source].pairs if use.source in sources else ())
        if rule.gt and rule.degradation == use.degradation and (rule.split == use.split or rule.test_share)
    ]
    for level in use.levels if rules else ():
        if not any(can_have_level(rule, level) for rule in rules):
            examples = {pair.level for rule in rules if rule.example for pair in rule.example.pairs}
            known = [text for text in sorted({rule.level for rule in rules} | examples) if text]
            hint = nearest(level, known) if known else "its pairs have no levels; leave levels out"
            yield f"no pair of {use.source} has the level {level!r}: {hint}"
    if rules or use.source not in sources or not any(not rule.degradation for rule in sources[use.source].pairs):
        return
    # Late: the operations need OpenCV and SciPy, and most commands that read a subset make no image.
    from uirdata.degradations import DEGRADATIONS

    made = [level.name for level in DEGRADATIONS[use.degradation].levels]
    for level in use.levels if made else ():
        if level not in made:
            yield f"{use.degradation} has no level {level!r} to make of {use.source}: {nearest(level, made)}"


def _nearest(name: str, subsets: Iterable[str], sources: Iterable[str]) -> str:
    hint = nearest(name, [*subsets, *sources])
    # A list of eighty ids would make the message unreadable.
    return hint if hint.startswith("did you mean") else nearest("", subsets) + "; `uir sources` lists the sources"
