"""Tars as streams of members, read to their end mark and to the sums of their compression."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import IO, BinaryIO, NoReturn, Self

from uirdata.errors import ArchiveError
from uirdata.storage.formats.members import Limits
from uirdata.storage.formats.streams import Member, Readable, UnsupportedArchive

_MOST_PADDING = 4 << 20
"""Bytes of zeros after the end mark: tapes are padded to blocks of some MiB at most. More may be what a crash left."""

_MOST_TEXT_BYTES = 1 << 18
_TEXTS = frozenset(
    {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
"""Members that hold the name of another one; tarfile reads them at once, however large they are."""


class _StrictHeader(tarfile.TarInfo):
    """A header that must be whole: tarfile takes a damaged one for the end of the archive, without a word."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Return the header in a block."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _TEXTS and header.size > _MOST_TEXT_BYTES):
            raise tarfile.ReadError(f"a header has a text or a file of {header.size:,} bytes")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """Return the next header."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            # A block of zeros: the end mark.
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("its end mark is missing: it is cut short") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the header at byte {tarfile_.offset:,} is damaged ({error})") from None

    def _proc_sparse(self, _: tarfile.TarFile) -> NoReturn:
        # Its map of holes may be longer than the memory.
        raise UnsupportedArchive(f"{self.name} is a sparse file, which is not read here")

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        raise UnsupportedArchive(f"{self.name} is a sparse file, which is not read here")


def _end(stream: IO[bytes]) -> None:
    """Read what follows the end mark: zeros, up to where gzip, xz, bzip2 and zstd compare their own sums."""
    padding = 0
    while block := stream.read(1 << 20):
        padding += len(block)
        if block.strip(b"\0"):
            raise tarfile.ReadError("there are bytes after its end mark: a part in the middle is lost or overwritten")
        if padding > _MOST_PADDING:
            raise tarfile.ReadError(f"more than {_MOST_PADDING >> 20} MiB of zeros follow its end mark")


def tar_members(stream: IO[bytes], name: str, limits: Limits) -> Iterator[Member]:
    """
    Yield the members of an open tar, and read it to its end.

    Args:
        stream: the tar, decompressed.
        name: of the archive in error messages.
        limits: on the number of entries.

    Raises:
        ArchiveError: it has too many entries. `packed.reading` handles the errors about damaged bytes.
    """
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader) as archive:
        # Folders count too: a tar of a million empty ones takes a long time.
        for entries, info in enumerate(archive, start=1):
            if entries > limits.entries:
                raise ArchiveError(
                    f"{name} has more than {limits.entries:,} entries; no published source has. Nothing of it is kept"
                )
            # tarfile keeps a list of all members, which is not needed here and grows.
            archive.members = []  # type: ignore[attr-defined]
            if info.isreg():
                yield Member(info.name, "file", info.size, "", partial(_extracted, archive, info))
            elif info.issym() or info.islnk():
                yield Member(info.name, "symlink" if info.issym() else "hardlink", 0, info.linkname, io.BytesIO)
            elif not info.isdir():
                yield Member(info.name, "device", 0, "", io.BytesIO)
        assert archive.fileobj is not None
        _end(archive.fileobj)  # type: ignore[arg-type]


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Readable:
    file = archive.extractfile(info)
    if file is None:
        raise ArchiveError(f"{info.name} has no bytes")
    return file


def decompressed(raw: BinaryIO, stack: contextlib.ExitStack) -> BinaryIO:
    """Return the stream that a file holds: of gzip, xz, bzip2 or zstd, by its first bytes; else the file itself."""
    head = raw.read(6)
    raw.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return stack.enter_context(gzip.GzipFile(fileobj=raw))  # type: ignore[return-value]
    if head.startswith(b"\xfd7zXZ\x00"):
        return stack.enter_context(lzma.LZMAFile(raw))  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return stack.enter_context(bz2.BZ2File(raw))  # type: ignore[return-value]
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        # Python has no zstd of its own before 3.14; pyarrow includes one.
        unpacked: BinaryIO = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
        return unpacked
    return raw
