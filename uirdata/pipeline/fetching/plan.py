"""The plan of a fetch: from manifests, the files on the disk, and a folder of the user; without network access."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from uirdata.errors import UsageError, nearest
from uirdata.hosts import Host, open_hosts
from uirdata.layout import Layout
from uirdata.pipeline.fetching.archive_names import (
    archive_name,
    below,
    journal_path,
    listing_path,
    read_listing,
    whole_name,
)
from uirdata.pipeline.fetching.completeness import adopted_state
from uirdata.pipeline.fetching.plan_values import FetchPlan, PlannedFile, PlannedSource
from uirdata.pipeline.fetching.remembered_sizes import estimated_bytes, remembered_sizes
from uirdata.pipeline.fetching.tree_search import FoundTrees, Unwanted, find_trees
from uirdata.pipeline.fetching.user_folder import UserFolder
from uirdata.sources import Mirror, RemoteFile, Source, load_sources
from uirdata.storage.files import free_bytes
from uirdata.storage.journals import read_journal
from uirdata.storage.temporary_names import beside
from uirdata.storage.transfers.partial import bytes_here
from uirdata.storage.transfers.receipts import Receipts


def plan_fetch(
    sources: Sequence[Source],
    layout: Layout,
    *,
    from_dir: Path | None = None,
    hosts: Mapping[str, Host] | None = None,
    alternative: str = "",
    fetch_missing: bool = False,
    known: Mapping[str, Source] | None = None,
) -> FetchPlan:
    """
    Return the plan of a fetch. Writes nothing, and does not use the network.

    Args:
        sources: the sources to fetch.
        layout: the folders to write to.
        from_dir: a folder of files that the user downloaded, at any depth.
        hosts: hosts by name; all hosts by default.
        alternative: name of the file set to use where a source has it; "" chooses by what is present and accessible.
        fetch_missing: download what is not in `from_dir`; otherwise nothing is downloaded where there is a `from_dir`.
        known: all sources that files of `from_dir` may belong to, by id; the published ones by default.

    Raises:
        SourceError: receipts cannot be read.
        UsageError: the user's folder does not exist, or no source has the alternative.
    """
    names = sorted({a.name for source in sources for a in source.alternatives})
    if alternative and alternative not in names:
        says = nearest(alternative, names) if names else "they have one file set only"
        raise UsageError(f"no file set of these sources has the name {alternative!r}: {says}")
    hosts = hosts if hosts is not None else open_hosts()
    given = UserFolder(from_dir, layout.root) if from_dir is not None else None
    planned = [_plan_source(source, layout, given, hosts, alternative) for source in sources]
    unwanted: tuple[Unwanted, ...] = ()
    if given is not None:
        trees = _trees_of(planned, given, load_sources() if known is None else known)
        unwanted = _less_archives(trees.unwanted, planned, given)
        planned = [_with_tree(entry, trees, given, fetch_missing=fetch_missing) for entry in planned]
    files = [file for source in planned for file in source.files]
    needs = [_needs(source, layout) for source in planned]
    return FetchPlan(
        layout=layout,
        sources=tuple(planned),
        bytes_to_fetch=sum(file.to_fetch or 0 for file in files),
        unknown_sizes=sum(file.to_fetch is None for file in files),
        bytes_on_disk=sum(kept for kept, _, _ in needs),
        bytes_pruned=sum(pruned for _, pruned, _ in needs) + max((largest for _, _, largest in needs), default=0),
        free_bytes=free_bytes(layout.root),
        estimated_bytes=sum(_estimate(entry) for entry in planned),
        from_dir=None if given is None else given.folder,
        unwanted=unwanted,
    )


def _estimate(entry: PlannedSource) -> int:
    unknown = [file.file for file in entry.files if file.to_fetch is None]
    if not unknown:
        return 0
    whole = estimated_bytes(entry.source, [file.file for file in entry.files])
    # Of one estimate for all files of unknown size, the share of those that are not here.
    return whole * len(unknown) // max(1, sum(file.file.expected_size is None for file in entry.files))


def is_here(source: Source, file: RemoteFile, layout: Layout, receipts: Receipts) -> bool:
    """Return whether a file, or what was unpacked from it, is present."""
    if file.archive == "folder":
        listing = read_listing(listing_path(source.id, layout, file.name))
        if not listing:
            return False
        return all(
            _arrived(source, f"{file.name}/{row['path']}", below(file.unpack_to, row["path"]), layout, receipts)
            for row in listing
        )
    placed = below(file.unpack_to, file.name) if not file.archive else ""
    return _arrived(source, file.name, placed, layout, receipts, archive_name(file))


def _arrived(source: Source, name: str, placed: str, layout: Layout, receipts: Receipts, archive: str = "") -> bool:
    receipt = receipts.get(name)
    if receipt is None:
        return False
    downloaded = layout.downloads(source.id) / name
    if not receipt.pinned_by and downloaded.is_file() and downloaded.stat().st_mtime_ns != receipt.mtime_ns:
        # Nothing is known yet of a file that was replaced before the first one was unpacked.
        return False
    for path in (downloaded, layout.source(source.id) / placed if placed else None):
        if path is not None and path.is_file() and path.stat().st_size == receipt.bytes:
            return True
    # The archive was deleted after it was unpacked.
    return bool(read_journal(journal_path(source.id, layout, archive or whole_name(name)))[1])


def _plan_source(
    source: Source,
    layout: Layout,
    given: UserFolder | None,
    hosts: Mapping[str, Host],
    alternative: str,
) -> PlannedSource:
    if source.local_dir is not None:
        return PlannedSource(source, (), "", None, "")
    receipts = Receipts(layout.receipts(source.id))
    adopted = adopted_state(source, layout) == "whole"
    sizes = remembered_sizes(layout)
    sets = [("", source.files), *((a.name, a.files) for a in source.alternatives)]
    planned = [
        (
            name,
            tuple(
                _plan_file(source, file, layout, receipts, given, hosts, adopted=adopted, sizes=sizes) for file in files
            ),
        )
        for name, files in sets
    ]
    if alternative and any(name == alternative for name, _ in planned):
        planned = [item for item in planned if item[0] == alternative]
    name, files = min(planned, key=lambda item: _effort(item[1]))
    return PlannedSource(source, files, name, None, _gate(files))


def _trees_of(planned: Sequence[PlannedSource], given: UserFolder, known: Mapping[str, Source]) -> FoundTrees:
    """Return the unpacked files of those sources whose archives are not there."""
    wanted = [
        entry.source
        for entry in planned
        if entry.source.local_dir is None
        and _may_be_unpacked(entry.files, has_own_folder=(given.folder / entry.source.id).is_dir())
    ]
    others = [
        source for source in known.values() if source.local_dir is None and source.id not in {s.id for s in wanted}
    ]
    return find_trees(wanted, [*wanted, *others], given)


def _with_tree(entry: PlannedSource, trees: FoundTrees, given: UserFolder, *, fetch_missing: bool) -> PlannedSource:
    """Return a source with what the user's folder holds of it; the rest is downloaded only where that is asked for."""
    tree = trees.trees.get(entry.source.id)
    if tree is not None:
        files = tuple(PlannedFile(f.file, "given", 0, 0, tree.root, "", f.mirrors) for f in entry.files)
        return replace(entry, files=files, tree=tree, gate=_gate(files), doubts=trees.doubts.get(entry.source.id, ()))
    if fetch_missing:
        return replace(entry, doubts=trees.doubts.get(entry.source.id, ()))
    files = tuple(
        replace(file, state="left", to_fetch=0, todo=_left_todo(entry.source, given))
        if file.state in ("missing", "partial")
        else file
        for file in entry.files
    )
    return replace(entry, files=files, gate=_gate(files), doubts=trees.doubts.get(entry.source.id, ()))


def _left_todo(source: Source, given: UserFolder) -> str:
    return f"not in {given.folder}; `uir fetch {source.id}` downloads it, or add --fetch-missing"


def _less_archives(
    unwanted: Sequence[Unwanted], planned: Sequence[PlannedSource], given: UserFolder
) -> tuple[Unwanted, ...]:
    """Return the files that were not taken, without the archives and files that are taken whole."""
    taken: Counter[tuple[str, str]] = Counter()
    for entry in planned:
        for file in entry.files:
            path = file.given
            if path is None or not path.is_relative_to(given.folder):
                continue
            for part in [path] if path.is_file() else [given.folder / name for name, _ in given.names_below(path)]:
                place = part if path.is_file() else path / part.relative_to(given.folder)
                taken[(place.parent.relative_to(given.folder).as_posix(), place.suffix.lower())] += 1
    left = (replace(row, files=row.files - taken[(row.folder, row.suffix)]) for row in unwanted)
    return tuple(row for row in left if row.files > 0)


def _may_be_unpacked(files: Sequence[PlannedFile], *, has_own_folder: bool) -> bool:
    """
    Return whether the user's folder may hold unpacked files: no archive is present, and not all other files are.

    The files in a folder DIR/<id> count as unpacked unless there is an archive.
    """
    enough = ("here",) if has_own_folder else ("here", "given")
    if all(file.state in enough for file in files) or any(file.state == "partial" for file in files):
        return False
    return not any(file.state in ("here", "given") and file.file.archive not in ("", "folder") for file in files)


def _effort(files: Sequence[PlannedFile]) -> tuple[int, int]:
    """Return the effort for a file set: files that the user has to download; 0 if it was started, else 1."""
    by_hand = sum(file.state == "by hand" for file in files)
    started = any(file.state in ("here", "given", "partial") for file in files)
    return by_hand, 0 if started else 1


def _gate(files: Sequence[PlannedFile]) -> str:
    for gate in ("by hand", "form", "login", "token"):
        for file in files:
            if file.state == "by hand" and gate == "by hand":
                return gate
            if file.state == "missing" and file.mirrors and all(mirror.access == gate for mirror in file.mirrors):
                return gate
    return ""


def _plan_file(
    source: Source,
    file: RemoteFile,
    layout: Layout,
    receipts: Receipts,
    given: UserFolder | None,
    hosts: Mapping[str, Host],
    *,
    adopted: bool,
    sizes: Mapping[tuple[str, str], int],
) -> PlannedFile:
    mirrors = tuple(m for m in file.mirrors if _is_automatic(m, hosts))
    if adopted or is_here(source, file, layout, receipts):
        return PlannedFile(file, "here", file.expected_size or 0, 0, None, "", mirrors)
    target = layout.downloads(source.id) / file.name
    if file.archive != "folder" and target.is_file():
        # The user put it there, or its receipt is lost: it is checked when it is fetched.
        return PlannedFile(file, "given", target.stat().st_size, 0, target, "", mirrors)
    found = given.find(file) if given is not None else None
    if found is not None:
        return PlannedFile(file, "given", _size_of(found), 0, found, "", mirrors)
    here = bytes_here(beside(target, ".part"))
    size = file.expected_size if file.expected_size is not None else sizes.get((source.id, file.name))
    left = None if size is None else max(0, size - here)
    if not mirrors:
        return PlannedFile(file, "by hand", here, 0, None, by_hand_todo(source, file, layout, hosts), mirrors)
    return PlannedFile(file, "partial" if here else "missing", here, left, None, _token_todo(mirrors, hosts), mirrors)


def _is_automatic(mirror: Mirror, hosts: Mapping[str, Host]) -> bool:
    host = hosts.get(mirror.host)
    if host is None or mirror.access in ("form", "login", "by-hand"):
        return False
    return host.reach(mirror.where).way != "by hand"


def _token_todo(mirrors: Sequence[Mirror], hosts: Mapping[str, Host]) -> str:
    """Return what to do for the first mirror if every mirror needs a token; "" if one does not."""
    first = mirrors[0]
    if any(m.access == "open" and hosts[m.host].reach(m.where).way == "automatic" for m in mirrors):
        return ""
    reach = hosts[first.host].reach(first.where)
    if reach.way == "token":
        return reach.todo
    link = hosts[first.host].link(first.where)
    return f"log in at {link}, accept its terms, and set a token (HF_TOKEN for Hugging Face)"


def by_hand_todo(source: Source, file: RemoteFile, layout: Layout, hosts: Mapping[str, Host]) -> str:
    """Return which page to open, what to download, and where to save it."""
    ways = []
    for mirror in file.mirrors:
        host = hosts.get(mirror.host)
        if host is None:
            continue
        reach = host.reach(mirror.where)
        link = host.link(mirror.where)
        note = f" ({mirror.note})" if mirror.note else ""
        ways.append((reach.todo if reach.way == "by hand" and mirror.host != "manual" else f"open {link}") + note)
    if all(mirror.host == "package" for mirror in file.mirrors):
        return f"{'; or '.join(dict.fromkeys(ways))}; then run the same command again"
    target = layout.downloads(source.id) / file.name
    steps = "; or ".join(dict.fromkeys(ways)) or "no location is known"
    what = "save the files of the folder as" if file.archive == "folder" else "save it as"
    return f"{steps}; then {what} {target}, or run `uir fetch {source.id} --from DIR` with its folder"


def _needs(planned: PlannedSource, layout: Layout) -> tuple[int, int, int]:
    """Return the bytes that a source adds to the disk: archives kept, archives pruned, and its largest archive."""
    if planned.tree is not None:
        return planned.tree.bytes, planned.tree.bytes, 0
    kept = pruned = largest = 0
    for entry in planned.files:
        if entry.state == "by hand":
            continue
        # A given file becomes a hard link to the user's file if both are on one disk, otherwise a copy.
        size = entry.here_bytes if entry.state == "given" else entry.file.expected_size or 0
        unpacked = bool(read_journal(journal_path(planned.source.id, layout, archive_name(entry.file)))[1])
        coming = 0 if entry.state == "here" else size if entry.state == "given" else max(0, size - entry.here_bytes)
        packed = entry.file.archive not in ("", "folder")
        out = size if packed and not unpacked else 0
        kept += coming + out
        pruned += out if packed else coming
        largest = max(largest, coming if packed else 0)
    return kept, pruned, largest


def _size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
