"""Object storage and all else that fsspec opens: s3://bucket/name, gs://, abfs://, sftp://, file://, memory://."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from uirdata.hosts.base import Listed
from uirdata.transfer import Incoming, Interrupted, Reach, Unreachable, redacted

_BLOCK = 1 << 20


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
        system, path = _system(where)
        try:
            total = int(system.size(path))
            file = system.open(path, "rb")
            file.seek(start)
        except FileNotFoundError:
            raise Unreachable(f"{redacted(where)}: no such object") from None
        except PermissionError as error:
            raise Unreachable(
                f"{redacted(where)}: permission denied ({redacted(str(error))}); check the keys in the environment"
            ) from error
        except OSError as error:
            raise Interrupted(f"{redacted(where)}: {redacted(str(error))}") from error
        return Incoming(redacted(where), start, total, "", True, "", _blocks(file, start, stop, where), file.close)

    def files(self, where: str) -> tuple[Listed, ...]:
        """Return the files below a folder; empty if there is no such folder."""
        system, path = _system(where.rstrip("/"))
        try:
            system.invalidate_cache()
            found = system.find(path, detail=True)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise Interrupted(f"{redacted(where)}: {redacted(str(error))}") from error
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
        system, path = _system(where)
        try:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with system.open(path, "wb") as file:
                while block := stream.read(_BLOCK):
                    file.write(block)
        except OSError as error:
            raise Interrupted(f"{redacted(where)}: cannot be written: {redacted(str(error))}") from error

    def delete(self, where: str) -> None:
        """Delete an object, if it exists."""
        system, path = _system(where)
        if system.exists(path):
            system.rm_file(path)


def _blocks(file: Any, start: int, stop: int | None, where: str) -> Iterator[bytes]:
    left = None if stop is None else stop - start
    while left is None or left > 0:
        try:
            block = file.read(_BLOCK if left is None else min(_BLOCK, left))
        except OSError as error:
            raise Interrupted(f"{redacted(where)}: {redacted(str(error))}") from error
        if not block:
            return
        yield block
        left = None if left is None else left - len(block)


def _system(where: str) -> tuple[Any, str]:
    # Imported here: fsspec is slow to import, and most sources are not in object storage.
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(where)
    except (ImportError, ValueError) as error:
        raise Unreachable(f"{redacted(where)}: {redacted(str(error))}") from error
    return system, str(path)
