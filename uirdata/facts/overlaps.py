"""
Training scenes that are also in benchmarks: published findings, with their evidence.

One file per benchmark, overlaps/<benchmark>.txt. A line is a kind, a source and a pattern of scenes (see
`uirdata.manifest_syntax.patterns`):

    same reds train-{clip:000|011|015|020}    the benchmark contains these scenes
    some lol-v2 real-*                        it contains some of these; which ones is not published
    equal-scene reside-ots                    it contains those that have the name of one of its own scenes

Lines that begin with "#" are the evidence for the entries below them; an entry without evidence is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from uirdata.errors import ManifestError, nearest
from uirdata.manifest_syntax.patterns import compile_pattern
from uirdata.sources import MANIFESTS

Kind = Literal["same", "some", "equal-scene"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Overlap:
    """
    Scenes of a source that are also in a benchmark.

    Attributes:
        benchmark: name of the file; usually the id of a test source.
        source: id of the training source.
        kind: same, some or equal-scene, as above.
        scenes: pattern of its scenes; "" for equal-scene.
        evidence: who found it, and how.
    """

    benchmark: str
    source: str
    kind: Kind
    scenes: str
    evidence: str


def load_overlaps(
    folders: Sequence[Path] = (MANIFESTS / "overlaps",), *, known_sources: Collection[str] = ()
) -> tuple[Overlap, ...]:
    """
    Return the overlaps of all lists, in the order of their names.

    Args:
        folders: folders of the lists; a folder that does not exist counts as empty.
        known_sources: ids that may be used; if empty, all ids may.

    Raises:
        ManifestError: a line is invalid; the message names file, line and what was expected.
    """
    found: list[Overlap] = []
    for folder in folders:
        for path in sorted(folder.glob("*.txt")):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ManifestError(f"{path}: cannot be read: {error}") from error
            found += parse_overlaps(text, path.stem, name=str(path), known_sources=known_sources)
    return tuple(found)


def parse_overlaps(text: str, benchmark: str, *, name: str, known_sources: Collection[str] = ()) -> tuple[Overlap, ...]:
    """
    Return the overlaps of one list.

    Args:
        text: text of the file.
        benchmark: the benchmark that the list belongs to.
        name: name of the file in error messages.
        known_sources: ids that may be used; if empty, all ids may.

    Raises:
        ManifestError: a line is invalid.
    """
    found: list[Overlap] = []
    evidence: list[str] = []
    fresh = True
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("#"):
            # A comment after an entry begins the evidence of the next ones.
            evidence = [line[1:].strip()] if fresh else [*evidence, line[1:].strip()]
            fresh = False
        elif line:
            entry = _parse_entry(line, benchmark, " ".join(evidence), f"{name}: line {number}")
            if known_sources and entry.source not in known_sources:
                raise ManifestError(
                    f"{name}: line {number}: no source {entry.source!r}: {nearest(entry.source, known_sources)}"
                )
            found.append(entry)
            fresh = True
    return tuple(found)


def overlapping_scenes(
    overlaps: Iterable[Overlap],
    source: str,
    scenes: Iterable[str],
    benchmark_scenes: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """
    Return the scenes of a source that are known to be in benchmarks; entries of the kind `some` do not count.

    Args:
        overlaps: from `load_overlaps`.
        source: id of the source.
        scenes: its scenes.
        benchmark_scenes: the scenes of each benchmark that is present, for entries of the kind equal-scene; those of
            other benchmarks are skipped.

    Returns:
        Scene to the names of the benchmarks, sorted and joined by commas; scenes in no benchmark are absent.
    """
    mine = [overlap for overlap in overlaps if overlap.source == source and overlap.kind != "some"]
    theirs = {name: frozenset(found) for name, found in (benchmark_scenes or {}).items()}
    held: dict[str, str] = {}
    for scene in dict.fromkeys(scenes):
        names = {overlap.benchmark for overlap in mine if _holds(overlap, scene, theirs)}
        if names:
            held[scene] = ",".join(sorted(names))
    return held


def _holds(overlap: Overlap, scene: str, theirs: Mapping[str, Collection[str]]) -> bool:
    if overlap.kind == "equal-scene":
        return scene in theirs.get(overlap.benchmark, ())
    return compile_pattern(overlap.scenes).match(scene) is not None


def _parse_entry(line: str, benchmark: str, evidence: str, where: str) -> Overlap:
    kind, *rest = line.split(maxsplit=2)
    known = next((name for name in KINDS if name == kind), None)
    if known is None:
        raise ManifestError(f"{where}: the line begins with {kind!r}: {nearest(kind, KINDS)}")
    if len(rest) != (1 if known == "equal-scene" else 2):
        expected = "a source" if known == "equal-scene" else "a source and a pattern of scenes"
        raise ManifestError(f"{where}: after {kind!r} comes {' '.join(rest)!r}, expected {expected}")
    if not evidence:
        raise ManifestError(f"{where}: there is no evidence; state who found it in a line above that begins with #")
    scenes = rest[1] if len(rest) == 2 else ""
    try:
        compile_pattern(scenes)
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}") from error
    return Overlap(benchmark, rest[0], known, scenes, evidence)
