"""What is here of each source, and the next command: from manifests and the disk, without the network."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uirdata.errors import UirError
from uirdata.layout import Layout
from uirdata.pipeline.fetching.completeness import adopted_state, completeness
from uirdata.pipeline.fetching.inventory import files_root
from uirdata.pipeline.fetching.plan import plan_fetch
from uirdata.pipeline.fetching.plan_values import PlannedSource
from uirdata.sources import Source
from uirdata.storage.pair_tables import read_pairs

StatusState = Literal["complete", "partly", "faulty", "by hand", "absent"]


@dataclass(frozen=True)
class SourceStatus:
    """
    What is here of a source.

    Attributes:
        id: id of the source.
        state: complete; partly; faulty (some pairs cannot be used); by hand (the user has to download it); absent.
        pairs: number of usable pairs and clean images.
        detail: how much is here, or what is wrong.
        bytes_to_fetch: bytes that `uir fetch` would download; None if a size is unknown.
        todo: the next command, or what to do by hand; "" if it is complete.
    """

    id: str
    state: StatusState
    pairs: int
    detail: str
    bytes_to_fetch: int | None
    todo: str


def status(sources: Sequence[Source], layout: Layout) -> tuple[SourceStatus, ...]:
    """
    Return what is here of each source, in the order given. Nothing is written, and no server is asked.

    A source whose own records are broken is faulty, and does not stop the others.
    """
    found = []
    for source in sources:
        try:
            found.append(_status(source, layout))
        except UirError as error:
            found.append(SourceStatus(source.id, "faulty", 0, str(error), 0, f"uir verify {source.id}"))
    return tuple(found)


def _status(source: Source, layout: Layout) -> SourceStatus:
    (planned,) = plan_fetch([source], layout).sources
    pairs, broken = _counted(source, layout)
    if source.local_dir is not None:
        return _own_status(source, layout, pairs, broken)
    verify = f"uir verify {source.id} --deep"
    left = _bytes_left(planned)
    fetch = f"uir fetch {source.id}"
    here = Counter(file.state for file in planned.files)
    if adopted_state(source, layout) == "part":
        return SourceStatus(source.id, "partly", pairs, str(completeness(source, layout)), left, fetch)
    if here["here"] == len(planned.files):
        if not pairs:
            return SourceStatus(source.id, "faulty", 0, "its files are here, and no pair was found", 0, verify)
        if broken:
            detail = f"{broken:,} of {pairs + broken:,} pairs cannot be used"
            return SourceStatus(source.id, "faulty", pairs, detail, 0, verify)
        return SourceStatus(source.id, "complete", pairs, str(completeness(source, layout)), 0, "")
    by_hand = [file for file in planned.files if file.state == "by hand"]
    some = here["here"] + here["partial"] + here["given"]
    detail = f"{here['here']} of {len(planned.files)} files" if some else ""
    if by_hand:
        todo = f"{by_hand[0].todo}" + (f" (and {len(by_hand) - 1} more files)" if len(by_hand) > 1 else "")
        return SourceStatus(source.id, "by hand", pairs, detail, left, todo)
    return SourceStatus(source.id, "partly" if some else "absent", pairs, detail, left, fetch)


def _own_status(source: Source, layout: Layout, pairs: int, broken: int) -> SourceStatus:
    folder = files_root(source, layout)
    again = f"uir fetch {source.id} --from {shlex.quote(str(folder))}"
    if not folder.is_dir():
        return SourceStatus(source.id, "faulty", 0, f"{folder} is not there any more", 0, f"uir forget {source.id}")
    if not pairs and not broken:
        return SourceStatus(source.id, "absent", 0, f"your folder {folder}", 0, again)
    if broken:
        detail = f"{broken:,} of {pairs + broken:,} pairs cannot be used"
        return SourceStatus(source.id, "faulty", pairs, detail, 0, f"uir verify {source.id} --deep")
    return SourceStatus(source.id, "complete", pairs, f"{pairs:,} of your folder {folder}", 0, "")


def _counted(source: Source, layout: Layout) -> tuple[int, int]:
    """Return the number of usable pairs, and of pairs with an image that cannot be used."""
    path = layout.pairs(source.id)
    if not path.exists():
        return 0, 0
    table = read_pairs(path, ["ok", "split", "reason"])
    usable = sum(table["ok"].to_pylist())
    rows = zip(table["split"].to_pylist(), table["reason"].to_pylist(), strict=True)
    return usable, sum(bool(split) and "cannot be used" in reason for split, reason in rows)


def _bytes_left(planned: PlannedSource) -> int | None:
    sizes = [file.to_fetch for file in planned.files if file.state in ("missing", "partial")]
    return None if None in sizes else sum(size or 0 for size in sizes)
