"""Whether the mirrors of sources still answer, and with what size: for a weekly job, and before a long download."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from uirdata.hosts import Host
from uirdata.progress import Progress
from uirdata.sources import Mirror, RemoteFile, Source
from uirdata.transfer import Interrupted, RangeRefused, Unreachable, looks_like_html

MirrorState = Literal["alive", "moved", "changed", "gated", "dead", "no answer", "by hand"]

_PAUSE_S = 0.5


@dataclass(frozen=True)
class MirrorCheck:
    """
    What a mirror answered.

    Attributes:
        source: id of the source.
        file: name of the file.
        host: name of the host in `uirdata.hosts`.
        link: its address.
        state: alive; moved (it answers from another address); changed (another size or hash than the manifest states);
            gated (a login or a token is needed); dead; no answer (try again later); by hand (nothing was asked).
        size: bytes that it states; None if it states none.
        detail: what it answered, or what to do.
    """

    source: str
    file: str
    host: str
    link: str
    state: MirrorState
    size: int | None = None
    detail: str = ""


def check_mirrors(
    sources: Sequence[Source],
    hosts: Mapping[str, Host],
    *,
    jobs: int,
    progress: Progress,
    wait: Callable[[float], None] = time.sleep,
) -> tuple[MirrorCheck, ...]:
    """
    Ask every mirror of every file for its size, and read no file. Each server gets one request at a time.

    Args:
        sources: the sources to check.
        hosts: hosts by name.
        jobs: servers that are asked at the same time.
        progress: receives progress.
        wait: called with the seconds between two requests to one server.

    Returns:
        The answers, in the order of the manifests. A failure is in the answer; it raises no exception.
    """
    every = [(source, file, mirror) for source in sources for file in _files(source) for mirror in file.mirrors]
    alone: Mapping[str, threading.Lock] = defaultdict(threading.Lock)
    progress.begin("asking mirrors", len(every))

    def ask(item: tuple[Source, RemoteFile, Mirror]) -> MirrorCheck:
        source, file, mirror = item
        host = hosts.get(mirror.host)
        link = host.link(mirror.where) if host is not None else mirror.where
        if host is None or mirror.access in ("form", "login", "by-hand") or host.reach(mirror.where).way == "by hand":
            state, size, detail = _unasked(mirror, host)
        else:
            with alone[urlsplit(link).hostname or mirror.host]:
                state, size, detail = _answer(host, file, mirror, link)
                wait(0.0 if mirror.host in ("package", "manual") else _PAUSE_S)
        progress.advance("asking mirrors")
        return MirrorCheck(source.id, file.name, mirror.host, link, state, size, detail)

    # Made before the threads start: a defaultdict makes two locks of one name if two threads ask for it at once.
    for _, _, mirror in every:
        host = hosts.get(mirror.host)
        _ = alone[urlsplit(host.link(mirror.where) if host is not None else mirror.where).hostname or mirror.host]
    try:
        with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            return tuple(pool.map(ask, every))
    finally:
        progress.end("asking mirrors")


def _files(source: Source) -> tuple[RemoteFile, ...]:
    return (*source.files, *(file for alternative in source.alternatives for file in alternative.files))


def _unasked(mirror: Mirror, host: Host | None) -> tuple[MirrorState, None, str]:
    if host is None:
        return "by hand", None, f"there is no host {mirror.host!r}"
    return "by hand", None, mirror.note or "open it in a browser"


def _answer(host: Host, file: RemoteFile, mirror: Mirror, link: str) -> tuple[MirrorState, int | None, str]:
    try:
        if file.archive == "folder" or host.is_folder(mirror.where):
            listed = host.files(mirror.where)
            sizes = [entry.size for entry in listed]
            total = None if None in sizes or not sizes else sum(size or 0 for size in sizes)
            return ("alive" if listed else "dead"), total, f"{len(listed):,} files"
        incoming = host.open(mirror.where, start=0, stop=1)
        try:
            # The first bytes tell a page from a file.
            first = next(iter(incoming.chunks), b"")
        finally:
            incoming.close()
    except Interrupted as error:
        return "no answer", None, str(error)
    except RangeRefused as error:
        return "changed", 0, str(error)
    except Unreachable as error:
        text = str(error)
        gated = any(word in text for word in (" 401 ", " 403 ", "login", "token", "terms", "quota"))
        return ("gated" if gated else "dead"), None, text
    if looks_like_html(first) or incoming.content_type.startswith("text/html"):
        return "dead", None, "a web page instead of the file"
    if file.size is not None and incoming.total not in (None, file.size) and not file.repacked:
        return "changed", incoming.total, f"{incoming.total:,} bytes; the manifest states {file.size:,}"
    for name, digest in (("sha256", file.sha256), ("md5", file.md5)):
        if digest and incoming.digests.get(name, digest) != digest and not file.repacked:
            return "changed", incoming.total, f"its {name} is {incoming.digests[name]}"
    if mirror.host == "http" and _place(incoming.url) != _place(link):
        return "moved", incoming.total, f"answers from {incoming.url}"
    return "alive", incoming.total, ""


def _place(url: str) -> tuple[str | None, str]:
    parts = urlsplit(url)
    return parts.hostname, parts.path
