"""Object storage and all else that fsspec opens: s3://bucket/name, gs://, abfs://, sftp://, file://, memory://."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from uirdata.errors import DownloadError
from uirdata.hosts.base import Listed
from uirdata.transfer import Incoming, Interrupted, Reach, Unreachable, redacted

_BLOCK = 1 << 20
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "mtime")
"""What stores call the version of an object, the best first."""


class Objects:
    """`where` is the URL as fsspec takes it; keys and endpoints are read from the environment."""

    connections = 4

    def reach(self, where: str) -> Reach:
        """Always automatic; keys are read from the environment."""
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Return the URL, without a password in it."""
        return redacted(where)

    def is_folder(self, where: str) -> bool:
        """Return whether the URL ends with a slash."""
        return where.endswith("/")

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open an object, or a range of it."""
        with _answering(where):
            system, path = _system(where)
            info = system.info(path)
            total = None if info.get("size") is None else int(info["size"])
            file = system.open(path, "rb")
            file.seek(start)
        version = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
        return Incoming(redacted(where), start, total, version, True, "", _blocks(file, start, stop, where), file.close)

    def files(self, where: str) -> tuple[Listed, ...]:
        """Return the files below a folder; empty if there is no such folder."""
        try:
            with _answering(where):
                system, path = _system(where.rstrip("/"))
                system.invalidate_cache()
                found = system.find(path, detail=True)
        except _NotThere:
            return ()
        root = str(system._strip_protocol(path)).rstrip("/") + "/"
        names = {name: str(name).removeprefix(root) for name in sorted(found)}
        return tuple(
            Listed(below, f"{where.rstrip('/')}/{below}", int(found[name]["size"])) for name, below in names.items()
        )

    def put(self, stream: BinaryIO, where: str) -> None:
        """
        Write an object; object stores show it only when it is complete.

        Raises:
            Interrupted: it was not written.
        """
        with _answering(where, "cannot be written: "):
            system, path = _system(where)
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with system.open(path, "wb") as file:
                while block := stream.read(_BLOCK):
                    file.write(block)

    def delete(self, where: str) -> None:
        """Delete an object, if it exists."""
        with _answering(where):
            system, path = _system(where)
            if system.exists(path):
                system.rm_file(path)


def _blocks(file: Any, start: int, stop: int | None, where: str) -> Iterator[bytes]:
    left = None if stop is None else stop - start
    while left is None or left > 0:
        with _answering(where):
            block = file.read(_BLOCK if left is None else min(_BLOCK, left))
        if not block:
            return
        yield block
        left = None if left is None else left - len(block)


class _NotThere(Unreachable):
    """There is no such object."""


@contextmanager
def _answering(where: str, what: str = "") -> Iterator[None]:
    """Turn what the clients of storage services raise, which have classes of their own, into errors of a download."""
    name = f"{redacted(where)}: {what}"
    try:
        yield
    except DownloadError:
        raise
    except FileNotFoundError:
        raise _NotThere(f"{name}no such object") from None
    except PermissionError as error:
        raise Unreachable(f"{name}permission denied ({_reason(error)}); check the keys in the environment") from error
    except socket.gaierror as error:
        raise Unreachable(f"{name}no such host") from error
    except OSError as error:
        raise Interrupted(f"{name}{_reason(error)}") from error
    except Exception as error:
        raise Unreachable(f"{name}{_reason(error)}") from error


def _reason(error: Exception) -> str:
    return redacted((str(error).strip().splitlines() or [type(error).__name__])[0])


def _system(where: str) -> tuple[Any, str]:
    # Imported here: fsspec is slow to import, and most sources are not in object storage.
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(where)
    except (ImportError, ValueError) as error:
        raise Unreachable(f"{redacted(where)}: {redacted(str(error))}") from error
    return system, str(path)
