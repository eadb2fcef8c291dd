"""Fetching of sources: download, check, unpack, pair. A failure of one source does not stop the others."""

from __future__ import annotations

import contextlib
import http.cookiejar
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from uirdata.errors import SourceError, UirError, UsageError
from uirdata.hosts import Host, WebClient, open_hosts
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import archive_name, tree_journal
from uirdata.pipeline.fetching.completeness import adopted_state, completeness
from uirdata.pipeline.fetching.inventory import Inventory, take_inventory
from uirdata.pipeline.fetching.own_folder import add_local_source
from uirdata.pipeline.fetching.own_taken import taken_remarks, taken_text
from uirdata.pipeline.fetching.plan import by_hand_todo, plan_fetch
from uirdata.pipeline.fetching.plan_values import FetchPlan, PlannedFile, PlannedSource
from uirdata.pipeline.fetching.source_files import FileOutcome, SourceDownloader
from uirdata.pipeline.fetching.tree_search import Unwanted, expected_layouts
from uirdata.pipeline.fetching.unpack import unpack_all
from uirdata.progress import Progress
from uirdata.sources import Source
from uirdata.storage.downloads import Pace, RateLimit
from uirdata.storage.locks import locked
from uirdata.storage.trees import adopt_tree, release_tree

__all__ = [
    "FetchPlan",
    "FetchReport",
    "FileOutcome",
    "PlannedFile",
    "PlannedSource",
    "SourceOutcome",
    "add_local_source",
    "fetch",
    "hosts_of_environment",
    "plan_fetch",
]

SourceState = Literal["done", "partly", "by hand", "failed", "left"]


@dataclass(frozen=True)
class SourceOutcome:
    """
    The result of fetching a source.

    Attributes:
        id: id of the source.
        state: done; partly (some files are present, and paired); by hand (the user has to download them); failed;
            left (nothing of it is in the user's folder, and nothing is to be downloaded).
        files: the result for each of its files.
        problems: failures of the source as a whole, such as an archive that cannot be unpacked.
        inventory: the pairs that were found; None if nothing was paired.
        taken: of the user's own folder, what was taken from it, in one sentence; "" for published sources.
        remarks: of the user's own folder, what looks wrong but was taken.
    """

    id: str
    state: SourceState
    files: tuple[FileOutcome, ...]
    problems: tuple[str, ...]
    inventory: Inventory | None
    taken: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def todo(self) -> tuple[str, ...]:
        """What the user has to do, one line for each file."""
        return tuple(f"{file.name}: {file.message}" for file in self.files if file.state in ("by hand", "left"))


@dataclass(frozen=True)
class FetchReport:
    """
    The result of a fetch.

    Attributes:
        sources: in the order of the plan.
    """

    sources: tuple[SourceOutcome, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every source is done."""
        return all(source.state == "done" for source in self.sources)


def fetch_whole(source: Source, layout: Layout, *, jobs: int, progress: Progress) -> None:
    """
    Fetch one source completely.

    Raises:
        SourceError: some of it is missing; the message gives the reasons.
    """
    (outcome,) = fetch(plan_fetch([source], layout), jobs=jobs, progress=progress).sources
    if outcome.state != "done":
        failed = (f"{file.name}: {file.message}" for file in outcome.files if file.state in ("failed", "by hand"))
        raise SourceError("; ".join((*outcome.problems, *failed)) or f"{source.id} could not be fetched")


def fetch(
    plan: FetchPlan,
    *,
    jobs: int,
    progress: Progress,
    prune: bool = False,
    limit_bytes_per_s: float | None = None,
    accept_changed: bool = False,
    ignore_estimates: bool = False,
    hosts: Mapping[str, Host] | None = None,
    pace: Pace | None = None,
) -> FetchReport:
    """
    Fetch the sources of a plan.

    Args:
        plan: from `plan_fetch`.
        jobs: files downloaded at the same time; large files use several connections each.
        progress: receives progress and notes.
        prune: delete archives after they are unpacked.
        limit_bytes_per_s: rate limit over all files together.
        accept_changed: accept files that differ from their first download, if the manifest has no hash.
        ignore_estimates: do not refuse because of estimated sizes that the disk is too small for.
        hosts: hosts by name; those of `hosts_of_environment` by default.
        pace: retries, waiting times and cancellation.

    Raises:
        StorageError: the disk is too small for the plan. Nothing has been written.
        UsageError: UIR_COOKIES cannot be read.
    """
    plan.refuse_if_too_large(prune=prune, ignore_estimates=ignore_estimates)
    hosts = hosts if hosts is not None else hosts_of_environment()
    pace = pace if pace is not None else Pace()
    if limit_bytes_per_s is not None:
        pace = replace(pace, limit=RateLimit(limit_bytes_per_s))
    run = _Run(
        plan.layout,
        hosts,
        pace,
        progress,
        max(1, jobs),
        prune=prune,
        accept_changed=accept_changed,
        from_dir=plan.from_dir,
        unwanted=plan.unwanted,
    )
    return run.all(plan.sources)


def hosts_of_environment() -> Mapping[str, Host]:
    """
    Return all hosts, with the cookies of the file at UIR_COOKIES, if it is set.

    Raises:
        UsageError: the file cannot be read.
    """
    name = os.environ.get("UIR_COOKIES", "")
    if not name:
        return open_hosts()
    jar = http.cookiejar.MozillaCookieJar(name)
    try:
        jar.load(ignore_discard=True, ignore_expires=True)
    except (OSError, http.cookiejar.LoadError) as error:
        raise UsageError(
            f"UIR_COOKIES={name}: cannot be read ({error}); expected a cookies.txt in Netscape format, as browser "
            "extensions export it"
        ) from error
    return open_hosts(WebClient(cookies=jar))


class _Run:
    """The state of one call of `fetch`."""

    def __init__(
        self,
        layout: Layout,
        hosts: Mapping[str, Host],
        pace: Pace,
        progress: Progress,
        jobs: int,
        *,
        prune: bool,
        accept_changed: bool,
        from_dir: Path | None = None,
        unwanted: Sequence[Unwanted] = (),
    ) -> None:
        self._from_dir = from_dir
        self._unwanted = unwanted
        self._layout = layout
        self._hosts = hosts
        self._pace = pace
        self._progress = progress
        self._jobs = jobs
        self._prune = prune
        self._accept_changed = accept_changed

    def all(self, sources: tuple[PlannedSource, ...]) -> FetchReport:
        """Download the files of all sources, and finish each source after its last file."""
        outcomes: dict[str, SourceOutcome] = {}
        with contextlib.ExitStack() as locks, ThreadPoolExecutor(max_workers=self._jobs) as pool:
            work: dict[Future[object], str] = {}
            arrived: dict[str, list[FileOutcome]] = {}
            left: dict[str, int] = {}
            downloaders: dict[str, SourceDownloader] = {}
            planned = {source.source.id: source for source in sources}
            try:
                for name, source in planned.items():
                    try:
                        locks.enter_context(_locked(self._layout, name))
                        downloaders[name] = self._downloader(source.source)
                    except UirError as error:
                        outcomes[name] = SourceOutcome(name, "failed", (), (str(error),), None)
                        continue
                    arrived[name], left[name] = [], len(source.files)
                    if source.tree is not None or not source.files:
                        left[name] = 0
                        work[pool.submit(self._finish, source, downloaders[name], [])] = name
                        continue
                    for file in source.files:
                        work[pool.submit(downloaders[name].get_file, file)] = name
                while work:
                    done, _ = wait(work, return_when=FIRST_COMPLETED)
                    for future in done:
                        name = work.pop(future)
                        result = future.result()
                        if isinstance(result, SourceOutcome):
                            outcomes[name] = result
                            continue
                        assert isinstance(result, FileOutcome)
                        arrived[name].append(result)
                        left[name] -= 1
                        if not left[name]:
                            work[pool.submit(self._finish, planned[name], downloaders[name], arrived[name])] = name
            except BaseException:
                self._pace.cancel.set()
                pool.shutdown(cancel_futures=True)
                raise
        return FetchReport(tuple(outcomes[name] for name in planned))

    def _other_ways(self, planned: PlannedSource) -> list[str]:
        """Return other ways to get the images of a source."""
        source = planned.source
        others = [alternative.name for alternative in source.alternatives if alternative.name != planned.file_set]
        ways = [f"the same images exist in other file sets, too; use --alternative with one of: {', '.join(others)}"]
        if planned.file_set and source.files:
            first = source.files[0]
            ways.append(f"{first.name}, from its authors: {by_hand_todo(source, first, self._layout, self._hosts)}")
        return ways if others else ways[1:]

    def _downloader(self, source: Source) -> SourceDownloader:
        return SourceDownloader(
            source,
            self._layout,
            self._hosts,
            pace=self._pace,
            progress=self._progress,
            jobs=self._jobs,
            accept_changed=self._accept_changed,
        )

    def _finish(
        self, planned: PlannedSource, downloader: SourceDownloader, arrived: list[FileOutcome]
    ) -> SourceOutcome:
        """Unpack the files of a source, pair them, and return the result."""
        source = planned.source
        order = {file.file.name: index for index, file in enumerate(planned.files)}
        files = sorted(arrived, key=lambda outcome: order[outcome.name])
        problems: list[str] = []
        inventory = None
        if planned.tree is not None:
            files = [FileOutcome(f.file.name, "given", f"unpacked in {planned.tree.root}") for f in planned.files]
        usable = {outcome.name for outcome in files if outcome.state in ("here", "arrived", "given")}
        try:
            downloader.receipts.flush()
            if planned.tree is not None:
                root = self._layout.source(source.id)
                adopt_tree(planned.tree.root, planned.tree.paths, root, tree_journal(source.id, self._layout))
            elif self._may_unpack(planned, usable):
                present = [file.file for file in planned.files if file.file.name in usable]
                lacking = {archive_name(f.file) for f in planned.files if f.file.name not in usable}
                whole = [file for file in present if archive_name(file) not in lacking]
                unpack_all(
                    source,
                    whole,
                    self._layout,
                    receipts=downloader.receipts,
                    pace=self._pace,
                    progress=self._progress,
                    prune=self._prune,
                )
            downloader.receipts.flush()
        except UirError as error:
            problems.append(str(error))
        if usable or source.local_dir is not None:
            try:
                inventory = take_inventory(source, self._layout, jobs=self._jobs, progress=self._progress)
                if not inventory.total and not problems:
                    problems.append(_nothing_found(source, inventory))
            except UirError as error:
                problems.append(str(error))
        if planned.tree is not None and inventory is not None:
            problems += self._shortfall(planned)
        state = _state(files, problems, inventory)
        problems += planned.doubts
        if state == "left" and self._from_dir is not None:
            problems.append(_not_in(self._from_dir, self._unwanted, source))
        elif state != "done" and planned.tree is None:
            problems += self._other_ways(planned)
        outcome = SourceOutcome(source.id, state, tuple(files), tuple(problems), inventory)
        if source.local_dir is None or inventory is None or not inventory.total:
            return outcome
        return replace(
            outcome,
            taken=taken_text(source, inventory, self._layout),
            remarks=taken_remarks(source, inventory, self._layout),
        )

    def _may_unpack(self, planned: PlannedSource, usable: set[str]) -> bool:
        """Return whether archives may be unpacked: not beside a tree of the user's, which whole archives replace."""
        state = adopted_state(planned.source, self._layout)
        if state == "part" and all(file.file.name in usable for file in planned.files):
            self._progress.note(
                f"{planned.source.id}: its archives hold all of it, and replace the part that was taken"
            )
            release_tree(self._layout.source(planned.source.id), tree_journal(planned.source.id, self._layout))
            return True
        return not state

    def _shortfall(self, planned: PlannedSource) -> list[str]:
        """Return what is missing of a source that was taken from a folder of the user."""
        found = completeness(planned.source, self._layout)
        if not found.missing:
            return []
        name = planned.source.id
        return [f"{found}; `uir fetch {name} --from OTHER-DIR` adds to them, `uir fetch {name}` downloads all of it"]


def _not_in(folder: Path, unwanted: Sequence[Unwanted], source: Source) -> str:
    """Return what a user's folder holds beside what a source looks like."""
    suffixes = sum((Counter({row.suffix or "no suffix": row.files}) for row in unwanted), Counter[str]())
    holds = ", ".join(f"{number:,} {suffix}" for suffix, number in suffixes.most_common(4)) or "nothing else"
    layouts = expected_layouts(source)
    more = f"; or {len(layouts) - 2} other layouts" if len(layouts) > 2 else ""
    return f"{folder} holds {holds}; {source.id} expects {'; or '.join(layouts[:2])}{more}"


def _state(files: list[FileOutcome], problems: list[str], inventory: Inventory | None) -> SourceState:
    bad = [file for file in files if file.state in ("by hand", "failed", "left")]
    if bad and len(bad) == len(files) and all(file.state == "left" for file in bad):
        return "left"
    if not bad and not problems:
        return "done"
    if inventory is not None and inventory.total:
        return "partly"
    if bad and not problems and all(file.state == "by hand" for file in bad) and len(bad) == len(files):
        return "by hand"
    return "failed" if problems or any(file.state == "failed" for file in bad) else "by hand"


def _nothing_found(source: Source, inventory: Inventory) -> str:
    if inventory.left_out and all(reason.startswith("sizes differ") for reason in inventory.left_out):
        return (
            f"{source.id}: no pair can be used, because each LQ has another size than its GT, as in super-resolution. "
            "Both must have one size: enlarge the LQ to the size of the GT"
        )
    some = ", ".join(inventory.unknown[:3])
    seen = f"; {inventory.unknown_count} images match no rule, such as {some}" if some else ""
    return f"{source.id}: no pair was found{seen}. The layout of the files may differ from that in the manifest"


def _locked(layout: Layout, source: str) -> contextlib.AbstractContextManager[None]:
    """Lock a source while the block runs, so that two commands do not write the same file."""
    return locked(
        layout.downloads(source) / ".lock", f"{source} is being fetched by another command", error=SourceError
    )
