"""A user's own folder as a source: clean photographs, or pairs of LQ and GT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from uirdata.errors import UsageError, nearest
from uirdata.facts.own_layouts import pairs_of_folders, recognise
from uirdata.facts.own_pairs import FoundPairs, pair_option, place_text
from uirdata.file_kinds import NOT_READ, count_unread, is_image_name, unread_text
from uirdata.folders import list_files
from uirdata.manifest_syntax.pair_rules import TYPES, PairRule, rule_faults
from uirdata.manifest_syntax.patterns import compile_pattern
from uirdata.manifest_syntax.toml_writer import toml_text
from uirdata.pairing import find_pairs
from uirdata.sources import ID, Source


def local_source(
    name: str,
    folder: Path,
    *,
    lq: str = "",
    gt: str = "",
    degradation: str = "",
    real: bool = True,
    test_share: float = 0.0,
    title: str = "",
    licence: str = "unknown",
    patterns: Sequence[tuple[str, str]] = (),
    clean: bool = False,
    without: Path | None = None,
) -> Source:
    """
    Return a source that describes a folder. Its files are not moved.

    Without `lq`, `gt`, `patterns` and `clean`, the names of folders and files decide: pairs where they tell LQ from GT
    (hazy/clear, a_lq/a_gt, low1/normal1, ...), otherwise clean photographs. What is not certain is refused.

    Args:
        name: id of the source.
        folder: folder of the images, at any depth.
        lq: folder of the LQ, below `folder`; requires `gt`.
        gt: folder of the GT.
        degradation: type of the LQ; may be left out if the names imply it.
        real: the LQ are captured, not synthesised.
        test_share: share of the scenes, 0 to 1, that go to the test split; their names decide which.
        title: title for readers.
        licence: of the images.
        patterns: pattern of the LQ and pattern of the GT, once for each way in which files pair.
        clean: every image is a clean photograph, whatever its name says.
        without: a folder that is left out if it is below `folder`, such as our data folder.

    Raises:
        UsageError: the name cannot be an id, the folder does not exist or holds no image, or it is not certain which
            images are LQ and which are GT; the message names the options that say it.
        SourceError: the folder cannot be read.
    """
    if not ID.fullmatch(name):
        raise UsageError(f"the source id is {name!r}: use lower-case letters, digits and hyphens")
    check_degradation(degradation)
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the folder that holds the images")
    if not 0.0 <= test_share < 1.0:
        raise UsageError(f"the test share is {test_share}, it must be at least 0 and less than 1")
    if bool(lq) != bool(gt):
        raise UsageError("LQ and GT folders must be given together; give both, or neither for clean photographs")
    if sum((bool(lq), bool(patterns), clean)) > 1 or (clean and degradation):
        raise UsageError("--clean, --pair, and --lq with --gt exclude each other, and --clean has no --degradation")
    images = _images_of(folder, without)
    if clean:
        found: Sequence[FoundPairs] = ()
    elif patterns:
        found = [_written_pairs(folder, images, patterns)]
    else:
        found = _recognised(folder, images, lq, gt)
    if degradation and not found:
        raise UsageError(
            f"{folder} has no pair of folders or files whose names tell LQ from GT; say which are pairs with "
            f"--pair LQ_PATTERN GT_PATTERN, or leave --degradation {degradation} out to take its images as clean "
            "photographs"
        )
    rules = tuple(rule for each in found for rule in _rules(folder, each, degradation, real, test_share))
    return Source(
        id=name,
        title=title or f"the folder {folder.name}",
        licence=licence,
        files=(),
        pairs=rules or (PairRule("train", "", real, "{path:.+}.{image}", "", test_share=test_share),),
        local_dir=folder,
    )


def check_degradation(degradation: str) -> None:
    """
    Check the name of a degradation; "" is none.

    Raises:
        UsageError: there is none of that name; the message suggests the most similar one.
    """
    if degradation and degradation not in TYPES:
        raise UsageError(f"there is no degradation {degradation!r}: {nearest(degradation, TYPES)}")


def source_to_toml(source: Source) -> str:
    """Return a source as the text of a manifest, which `sources.read_source` reads back as an equal source."""
    values = _items(source)
    sections = [name for name, value in values.items() if isinstance(value, tuple) and value and is_dataclass(value[0])]
    return toml_text(_plain(source), sections=sections)


def _images_of(folder: Path, without: Path | None) -> list[str]:
    names = list_files(folder, without=without)
    # A name that is not UTF-8 is left out, and named, where the files are paired.
    images = [name for name in names if is_image_name(name) and _is_utf8(name)]
    if any(is_image_name(name) for name in names):
        return images
    unread = count_unread(names)
    reasons = "".join(f"; {suffix} is {NOT_READ[suffix]}" for suffix in list(unread)[:3])
    holds = f"{len(names):,} files, but no image that is read" if names else "no image"
    kinds = f": {unread_text(unread)}" if unread else ""
    raise UsageError(f"{folder} holds {holds}{kinds}{reasons}; nothing was changed")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _recognised(folder: Path, images: Sequence[str], lq: str, gt: str) -> Sequence[FoundPairs]:
    if lq:
        below = [_below(folder, name) for name in (lq, gt)]
        if below[0] == below[1]:
            raise UsageError(f"the LQ and the GT folder are both {lq}; they must differ")
        recognition = pairs_of_folders(images, *below)
    else:
        recognition = recognise(images, folder.name)
    if doubt := recognition.doubt:
        types = f". TYPE is one of: {', '.join(TYPES)}" if "TYPE" in doubt else ""
        raise UsageError(f"{folder}: {doubt}{types}")
    return recognition.found


def _written_pairs(folder: Path, images: Sequence[str], patterns: Sequence[tuple[str, str]]) -> FoundPairs:
    """Return the pairs by patterns that the user wrote."""
    rules = tuple(PairRule("train", "noise", True, gt, lq) for lq, gt in patterns)
    for rule in rules:
        if not rule.lq or not rule.gt:
            raise UsageError("--pair needs a pattern of the LQ and one of the GT; for clean photographs use --clean")
        if faults := rule_faults(rule):
            raise UsageError(f"{pair_option(rule.lq, rule.gt)}: {'; '.join(faults)}")
        if not find_pairs(Source("probe", "", "", (), (rule,)), images, lambda _: "").pairs:
            fit = [[n for n in images if compile_pattern(*p).match(n)] for p in ((rule.lq,), (rule.gt, rule.lq))]
            seen = ", ".join(f"{len(names):,} {role}" for names, role in zip(fit, ("LQ", "GT"), strict=True))
            raise UsageError(
                f"{pair_option(rule.lq, rule.gt)} finds no pair in {folder}: the patterns match {seen}; the images "
                f"there are {', '.join(images[:2])}, ... The first pattern is that of the LQ; holes of one name, "
                "such as {id}, must be equal"
            )
    pairs = {pair.lq: pair.gt for pair in find_pairs(Source("probe", "", "", (), rules), images, lambda _: "").pairs}
    return FoundPairs(tuple(("train", rule.lq, rule.gt) for rule in rules), "", pairs, len(pairs), is_equal=False)


def _rules(folder: Path, found: FoundPairs, degradation: str, real: bool, test_share: float) -> Iterator[PairRule]:
    degradation = degradation or found.degradation
    for split, lq, gt in found.rules:
        if not degradation:
            raise UsageError(
                f"{folder}: the degradation of {place_text(lq)} is missing: {len(found.pairs):,} pairs were found, but "
                f"no name says it. Run the same command again with --degradation and one of: {', '.join(TYPES)}"
            )
        yield PairRule(split, degradation, real, gt, lq, test_share=test_share if split == "train" else 0.0)


def _below(folder: Path, name: str) -> str:
    path = (folder / name).resolve()
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder")
    if not path.is_relative_to(folder) or path == folder:
        raise UsageError(f"{path} is not below {folder}; give the folder that holds both LQ and GT")
    relative = path.relative_to(folder).as_posix()
    if any(character in relative for character in "{}*"):
        raise UsageError(f"{path}: {{, }} and * are not allowed in folder names; rename it")
    return relative


def _is_default(value: Any, name: str) -> bool:
    field = next(f for f in fields(value) if f.name == name)
    if field.default is not MISSING:
        return bool(getattr(value, name) == field.default)
    return field.default_factory is not MISSING and bool(getattr(value, name) == field.default_factory())


def _items(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value) if not _is_default(value, f.name)}


def _plain(value: Any) -> Any:
    """Return a value as TOML knows it; of dataclasses only what differs from the default."""
    if is_dataclass(value):
        return {name: _plain(item) for name, item in _items(value).items()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
