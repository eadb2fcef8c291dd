"""Bring sources home: download, check, unpack, pair. One source's failure does not stop the others."""

from __future__ import annotations

import contextlib
import fcntl
import http.cookiejar
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from uirdata.errors import SourceError, UirError, UsageError
from uirdata.facts.local_sources import local_source, source_to_toml
from uirdata.hosts import Host, WebClient, open_hosts
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import archive_name, tree_journal
from uirdata.pipeline.fetching.inventory import Inventory, take_inventory
from uirdata.pipeline.fetching.plan import FetchPlan, PlannedFile, PlannedSource, by_hand_todo, plan_fetch
from uirdata.pipeline.fetching.source_files import FileOutcome, SourceDownloader
from uirdata.pipeline.fetching.unpack import unpack_all
from uirdata.progress import Progress
from uirdata.sources import MANIFESTS, Source
from uirdata.storage.archives import read_journal
from uirdata.storage.downloads import Pace, RateLimit
from uirdata.storage.files import writing
from uirdata.storage.trees import adopt_tree

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

SourceState = Literal["done", "partly", "by hand", "failed"]


@dataclass(frozen=True)
class SourceOutcome:
    """
    What came of a source.

    Attributes:
        id: of the source.
        state: done; partly (some of it is here, and paired); by hand (nothing is here before a person acts); failed.
        files: what came of each of its files.
        problems: what went wrong with the source as a whole, such as an archive that cannot be unpacked.
        inventory: what was found; None where nothing was paired.
    """

    id: str
    state: SourceState
    files: tuple[FileOutcome, ...]
    problems: tuple[str, ...]
    inventory: Inventory | None

    @property
    def todo(self) -> tuple[str, ...]:
        """What a person has to do."""
        return tuple(f"{file.name}: {file.message}" for file in self.files if file.state == "by hand")


@dataclass(frozen=True)
class FetchReport:
    """
    What came of a fetch.

    Attributes:
        sources: in the order of the plan.
    """

    sources: tuple[SourceOutcome, ...]

    @property
    def is_complete(self) -> bool:
        """Every source is done."""
        return all(source.state == "done" for source in self.sources)


def fetch_whole(source: Source, layout: Layout, *, jobs: int, progress: Progress) -> None:
    """
    Fetch one source that what follows cannot do without.

    Raises:
        SourceError: not all of it is here; the message says what went wrong.
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
    hosts: Mapping[str, Host] | None = None,
    pace: Pace | None = None,
) -> FetchReport:
    """
    Do what a plan says.

    Args:
        plan: of `plan_fetch`.
        jobs: files at once; large files come in several streams each.
        progress: hears how far it is, and what a person should know.
        prune: remove archives once they are unpacked.
        limit_bytes_per_s: cap over all files.
        accept_changed: take files that differ from their first download, where the manifest has no hash.
        hosts: by name; those of `hosts_of_environment` by default.
        pace: how patient to be.

    Raises:
        StorageError: the disk is too small for the plan. Nothing has been written then.
        UsageError: UIR_COOKIES cannot be read.
    """
    plan.refuse_if_too_large(prune=prune)
    hosts = hosts if hosts is not None else hosts_of_environment()
    pace = pace if pace is not None else Pace()
    if limit_bytes_per_s is not None:
        pace = replace(pace, limit=RateLimit(limit_bytes_per_s))
    run = _Run(plan.layout, hosts, pace, progress, max(1, jobs), prune=prune, accept_changed=accept_changed)
    return run.all(plan.sources)


def add_local_source(
    name: str,
    folder: Path,
    layout: Layout,
    *,
    lq: str = "",
    gt: str = "",
    degradation: str = "",
    real: bool = True,
    test_share: float = 0.0,
    title: str = "",
    licence: str = "unknown",
) -> Source:
    """
    Make a source of a folder of the user's: ROOT/manifests/<name>.toml. The images stay where they are.

    The arguments are those of `local_sources.local_source`. `plan_fetch` and `fetch` of the result pair its files.

    Raises:
        UsageError: the name is taken or cannot be an id, the folder is not there, or what it holds cannot be told.
        StorageError: the manifest cannot be written.
    """
    if (MANIFESTS / "sources" / f"{name}.toml").exists():
        raise UsageError(f"{name} is a published source; choose another name for {folder}")
    source = local_source(
        name,
        folder,
        lq=lq,
        gt=gt,
        degradation=degradation,
        real=real,
        test_share=test_share,
        title=title,
        licence=licence,
    )
    with writing(layout.manifests / f"{name}.toml") as partial:
        partial.write_text(source_to_toml(source), encoding="utf-8")
    return source


def hosts_of_environment() -> Mapping[str, Host]:
    """
    Give all hosts, with the cookies of the file that UIR_COOKIES names, if any.

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
            f"UIR_COOKIES={name}: cannot be read ({error}); give a cookies.txt in the format of Netscape, as browser "
            "extensions export it"
        ) from error
    return open_hosts(WebClient(cookies=jar))


class _Run:
    """One fetch."""

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
    ) -> None:
        self._layout = layout
        self._hosts = hosts
        self._pace = pace
        self._progress = progress
        self._jobs = jobs
        self._prune = prune
        self._accept_changed = accept_changed

    def all(self, sources: tuple[PlannedSource, ...]) -> FetchReport:
        """Bring the files of all sources, and settle each source when its last file is there."""
        outcomes: dict[str, SourceOutcome] = {}
        with contextlib.ExitStack() as locks, ThreadPoolExecutor(max_workers=self._jobs) as pool:
            work: dict[Future[object], str] = {}
            came: dict[str, list[FileOutcome]] = {}
            left: dict[str, int] = {}
            bringers: dict[str, SourceDownloader] = {}
            planned = {source.source.id: source for source in sources}
            try:
                for name, source in planned.items():
                    try:
                        locks.enter_context(_locked(self._layout, name))
                        bringers[name] = self._bringer(source.source)
                    except UirError as error:
                        outcomes[name] = SourceOutcome(name, "failed", (), (str(error),), None)
                        continue
                    came[name], left[name] = [], len(source.files)
                    if source.tree is not None or not source.files:
                        left[name] = 0
                        work[pool.submit(self._settle, source, bringers[name], [])] = name
                        continue
                    for file in source.files:
                        work[pool.submit(bringers[name].bring, file)] = name
                while work:
                    done, _ = wait(work, return_when=FIRST_COMPLETED)
                    for future in done:
                        name = work.pop(future)
                        result = future.result()
                        if isinstance(result, SourceOutcome):
                            outcomes[name] = result
                            continue
                        assert isinstance(result, FileOutcome)
                        came[name].append(result)
                        left[name] -= 1
                        if not left[name]:
                            work[pool.submit(self._settle, planned[name], bringers[name], came[name])] = name
            except BaseException:
                self._pace.cancel.set()
                pool.shutdown(cancel_futures=True)
                raise
        return FetchReport(tuple(outcomes[name] for name in planned))

    def _other_ways(self, planned: PlannedSource) -> list[str]:
        """Say how else the pictures can be had."""
        source = planned.source
        others = [alternative.name for alternative in source.alternatives if alternative.name != planned.file_set]
        ways = [f"the same pictures are packed in other ways too; --alternative takes one of: {', '.join(others)}"]
        if planned.file_set and source.files:
            first = source.files[0]
            ways.append(f"{first.name}, of its authors: {by_hand_todo(source, first, self._layout, self._hosts)}")
        return ways if others else ways[1:]

    def _bringer(self, source: Source) -> SourceDownloader:
        return SourceDownloader(
            source,
            self._layout,
            self._hosts,
            pace=self._pace,
            progress=self._progress,
            jobs=self._jobs,
            accept_changed=self._accept_changed,
        )

    def _settle(self, planned: PlannedSource, bringer: SourceDownloader, came: list[FileOutcome]) -> SourceOutcome:
        """Unpack what came, pair it, and say how far the source is."""
        source = planned.source
        order = {file.file.name: index for index, file in enumerate(planned.files)}
        files = sorted(came, key=lambda outcome: order[outcome.name])
        problems: list[str] = []
        inventory = None
        if planned.tree is not None:
            files = [FileOutcome(f.file.name, "given", f"unpacked, in {planned.tree.root}") for f in planned.files]
        usable = {outcome.name for outcome in files if outcome.state in ("here", "arrived", "given")}
        try:
            bringer.receipts.flush()
            if planned.tree is not None:
                root = self._layout.source(source.id)
                adopt_tree(planned.tree.root, planned.tree.paths, root, tree_journal(source.id, self._layout))
            elif not read_journal(tree_journal(source.id, self._layout))[1]:
                present = [file.file for file in planned.files if file.file.name in usable]
                lacking = {archive_name(f.file) for f in planned.files if f.file.name not in usable}
                whole = [file for file in present if archive_name(file) not in lacking]
                unpack_all(
                    source,
                    whole,
                    self._layout,
                    receipts=bringer.receipts,
                    pace=self._pace,
                    progress=self._progress,
                    prune=self._prune,
                )
        except UirError as error:
            problems.append(str(error))
        if usable or source.local_dir is not None:
            try:
                inventory = take_inventory(source, self._layout, jobs=self._jobs, progress=self._progress)
                if not inventory.total and not problems:
                    problems.append(_nothing_found(source, inventory))
            except UirError as error:
                problems.append(str(error))
        state = _state(files, problems, inventory)
        if state != "done":
            problems += self._other_ways(planned)
        return SourceOutcome(source.id, state, tuple(files), tuple(problems), inventory)


def _state(files: list[FileOutcome], problems: list[str], inventory: Inventory | None) -> SourceState:
    bad = [file for file in files if file.state in ("by hand", "failed")]
    if not bad and not problems:
        return "done"
    if inventory is not None and inventory.total:
        return "partly"
    if bad and not problems and all(file.state == "by hand" for file in bad) and len(bad) == len(files):
        return "by hand"
    return "failed" if problems or any(file.state == "failed" for file in bad) else "by hand"


def _nothing_found(source: Source, inventory: Inventory) -> str:
    some = ", ".join(inventory.unknown[:3])
    seen = f"; {inventory.unknown_count} images fit no rule, such as {some}" if some else ""
    return f"{source.id}: no pair was found{seen}. The files may be packed in another layout than the manifest says"


@contextlib.contextmanager
def _locked(layout: Layout, source: str) -> Iterator[None]:
    """Hold a source, so that two commands at once do not write the same file."""
    folder = layout.downloads(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise SourceError(f"{folder}: cannot be written: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SourceError(f"{source} is being fetched by another command right now; wait for it to end") from None
        yield
