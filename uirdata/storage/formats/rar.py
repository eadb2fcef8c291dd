"""RAR archives, which need an external program: bsdtar, which converts them into a tar stream, or unrar."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from uirdata.errors import ArchiveError


@dataclass(frozen=True)
class Program:
    """
    An installed program.

    Attributes:
        path: of the program.
        gives_tar: it outputs a whole archive as a tar, in one pass; otherwise it prints one member at a time.
    """

    path: str
    gives_tar: bool


def find_program(parts: Sequence[Path]) -> Program:
    """
    Return the best installed program for an archive.

    Raises:
        ArchiveError: none is installed, or the archive is split.
    """
    if len(parts) > 1:
        raise ArchiveError(f"{parts[0].name} is a split RAR archive; unpack it yourself and use --from")
    name = parts[0].name
    complaint = ""
    if (bsdtar := shutil.which("bsdtar")) and not (complaint := _complaint(bsdtar, parts[0])):
        return Program(bsdtar, True)
    if unrar := shutil.which("unrar"):
        return Program(unrar, False)
    if complaint:
        raise ArchiveError(
            f"{name}: bsdtar says {complaint!r}; unrar reads more kinds of RAR archives: install it and run the "
            "command again, or unpack it yourself and use --from"
        )
    raise ArchiveError(
        f"{name} is a RAR archive, which needs a program to unpack: install libarchive-tools (bsdtar) or unrar and run "
        "the command again, or unpack it yourself and use --from"
    )


def _complaint(bsdtar: str, archive: Path) -> str:
    """Return the error message of bsdtar when it lists an archive, as for old and solid ones; "" if there is none."""
    command = [bsdtar, "-tf", str(archive.resolve())]
    listed = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False, env=_utf8()
    )
    words = listed.stderr.decode("utf-8", "replace").strip().splitlines()
    return (words or ["nothing"])[0][:200] if listed.returncode else ""


@contextlib.contextmanager
def as_tar(program: Program, archive: Path) -> Iterator[IO[bytes]]:
    """
    Yield an archive as a tar stream; the program writes no file.

    Raises:
        ArchiveError: the program cannot read the archive.
    """
    command = [program.path, "--format", "pax", "-cf", "-", f"@{archive.resolve()}"]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=_utf8()) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
            # The bytes after the end of the tar must be read too, or the program gets a broken pipe.
            while process.stdout.read(1 << 16):
                pass
            failed = process.wait() != 0
        except tarfile.TarError:
            # It ended in the middle; the program's own message is more precise.
            process.stdout.close()
            if not process.wait():
                raise
            failed = True
        except BaseException:
            process.kill()
            raise
        if failed:
            stderr.seek(0)
            words = stderr.read(300).decode("utf-8", "replace").strip()
            raise ArchiveError(f"{archive.name} cannot be unpacked: {Path(program.path).name} says {words!r}")


def members(program: Program, archive: Path, limit: int) -> Iterator[tuple[str, Callable[[], io.RawIOBase]]]:
    """
    Yield the name of each file, and a function that opens it: unrar prints the bytes, and writes nothing itself.

    Args:
        program: unrar.
        archive: to read.
        limit: maximum number of entries.

    Raises:
        ArchiveError: the program cannot read the archive.
    """
    path = str(archive.resolve())
    listed = subprocess.run([program.path, "lb", "-p-", path], capture_output=True, check=False, env=_utf8())
    if listed.returncode:
        raise ArchiveError(f"{archive.name}: unrar says {listed.stderr.decode(errors='replace')[:200]!r}")
    names = [name for name in listed.stdout.decode("utf-8", "surrogateescape").splitlines() if name]
    if len(names) > limit:
        raise ArchiveError(f"{archive.name} has {len(names):,} entries; no published source has")
    folders = {name.rpartition("/")[0] for name in names}
    for name in names:
        if name in folders:
            continue
        # unrar takes -x for an option, and @x for a file with a list of names.
        if name.startswith(("-", "@")) or any(c in name for c in "*?["):
            raise ArchiveError(f"{archive.name}: the name {name!r} cannot be passed to unrar")
        yield name, partial(_Printed, (program.path, "p", "-inul", "-p-", path, name))


class _Printed(io.RawIOBase):
    """The standard output of a program, as a file."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_utf8())

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read what was printed so far."""
        assert self._process.stdout is not None
        view = memoryview(buffer)  # type: ignore[arg-type]
        block = self._process.stdout.read(len(view))
        view[: len(block)] = block
        if not block and self._process.wait():
            raise ArchiveError(f"{self._process.args!r} failed with exit code {self._process.returncode}")
        return len(block)

    def close(self) -> None:
        """End the program."""
        if not self.closed:
            assert self._process.stdout is not None
            self._process.stdout.close()
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        super().close()


def _utf8() -> dict[str, str]:
    """Return an environment with a UTF-8 locale; without one these programs change names."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}
