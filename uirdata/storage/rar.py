"""RAR archives, which need a program: bsdtar or unrar."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from uirdata.errors import ArchiveError

_RAR_TOOLS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # Program, arguments that list bare names, arguments that print one member.
    ("bsdtar", ("-tf",), ("-xOf",)),
    ("unrar", ("lb", "-p-"), ("p", "-inul", "-p-")),
)


def rar_members(parts: Sequence[Path], limit: int) -> Iterator[tuple[str, Callable[[], io.RawIOBase]]]:
    """
    Give the name of each file, and what opens it: a program prints it, and writes nothing itself.

    Args:
        parts: the archive.
        limit: of entries.

    Raises:
        ArchiveError: no program is installed, or it cannot read the archive.
    """
    found = [(path, listing, printing) for tool, listing, printing in _RAR_TOOLS if (path := shutil.which(tool))]
    if not found:
        raise ArchiveError(
            f"{parts[0].name} is a RAR archive, which needs a program to unpack: install libarchive-tools (bsdtar) or "
            "unrar and run the command again, or unpack it yourself and use --from"
        )
    program, listing, printing = found[0]
    if len(parts) > 1:
        raise ArchiveError(f"{parts[0].name} is a RAR archive in pieces; unpack it yourself and use --from")
    archive = str(parts[0].resolve())
    listed = subprocess.run([program, *listing, archive], capture_output=True, check=False)
    if listed.returncode:
        raise ArchiveError(f"{parts[0].name}: {Path(program).name} says {listed.stderr.decode(errors='replace')[:200]}")
    names = [name for name in listed.stdout.decode("utf-8", "surrogateescape").splitlines() if name]
    if len(names) > limit:
        raise ArchiveError(f"{parts[0].name} has {len(names):,} entries; no published source has")
    folders = {name.rstrip("/") for name in names if name.endswith("/")}
    folders |= {name.rpartition("/")[0] for name in names}
    for name in names:
        if name.rstrip("/") in folders:
            continue
        if name.startswith("-") or any(c in name for c in "*?[\n"):
            raise ArchiveError(f"{parts[0].name}: the name {name!r} cannot be given to {Path(program).name}")
        yield name, partial(_Printed, (program, *printing, archive, name))


class _Printed(io.RawIOBase):
    """What a program prints, as a file."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read what has been printed."""
        assert self._process.stdout is not None
        view = memoryview(buffer)  # type: ignore[arg-type]
        block = self._process.stdout.read(len(view))
        view[: len(block)] = block
        if not block and self._process.wait():
            raise ArchiveError(f"{self._process.args!r} failed with {self._process.returncode}")
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
