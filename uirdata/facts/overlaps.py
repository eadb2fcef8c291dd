"""
Which training scenes a benchmark holds: what others found, with their evidence.

One file a benchmark, overlaps/<benchmark>.txt. A line is a kind, a source and a pattern of scenes (see
`uirdata.manifest_syntax.patterns`):

    same reds train-{clip:000|011|015|020}    the benchmark holds these scenes
    some lol-v2 real-*                        it holds some of these; which ones is not published
    equal-scene reside-ots                    it holds those that have the name of one of its own scenes

Lines that begin with "#" stand above the entries that they are the evidence for; an entry without any is an error.
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
    Scenes of a source that a benchmark holds.

    Attributes:
        benchmark: name of the file; mostly the id of a test source.
        source: id of the source that trains.
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
    Read all lists, in the order of their names.

    Args:
        folders: where they lie; a folder that is not there holds none.
        known_sources: ids that may be named; without any, every id may.

    Raises:
        ManifestError: a line says something that cannot be; the message names file, line and what was expected.
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
    Read one list.

    Args:
        text: of the file.
        benchmark: whose list it is.
        name: what an error calls the file.
        known_sources: ids that may be named; without any, every id may.

    Raises:
        ManifestError: a line says something that cannot be.
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
    Say which scenes of a source are known to be in benchmarks; what is only known of some of them does not count.

    Args:
        overlaps: from `load_overlaps`.
        source: id of the source.
        scenes: its scenes.
        benchmark_scenes: the scenes of each benchmark that is here, for the entries of the kind equal-scene; those of
            other benchmarks are passed over.

    Returns:
        Scene to the names of the benchmarks, sorted and joined by commas; scenes in none are not there.
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
        raise ManifestError(f"{where}: after {kind!r} stands {' '.join(rest)!r}, expected {expected}")
    if not evidence:
        raise ManifestError(f"{where}: there is no evidence; write who found it in a line with # above it")
    scenes = rest[1] if len(rest) == 2 else ""
    try:
        compile_pattern(scenes)
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}") from error
    return Overlap(benchmark, rest[0], known, scenes, evidence)
