"""Readers of archives as streams of members, one function per format."""

from __future__ import annotations

import contextlib
import errno
import io
import stat
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from uirdata.errors import ArchiveError, StorageError, UirError
from uirdata.manifest_syntax.patterns import is_image_name
from uirdata.storage.formats.members import Limits
from uirdata.storage.formats.streams import Joined, Member, Readable, UnsupportedArchive
from uirdata.storage.formats.tars import decompressed, tar_members


def read_members(kind: str, parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    """
    Yield the members of an archive in the order of their bytes.

    Args:
        kind: zip, tar, 7z, rar, parquet or mat.
        parts: the archive; several parts are joined.
        limits: checked before reading a directory that could be too large.

    Raises:
        ArchiveError: this format cannot be read here. `reading` handles the libraries' errors about broken archives.
    """
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"{kind!r} is not a format of archives; expected one of: {', '.join(_READERS)}")
    return reader(parts, limits)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """
    Turn the errors of the libraries about a broken archive into one error. Members must be read inside the block too.

    Raises:
        ArchiveError: the archive is truncated, not of the format of its name, or in a form that is not read here.
        StorageError: the disk does not return its bytes.
    """
    try:
        yield
    except (UirError, InterruptedError):
        raise
    except (UnsupportedArchive, NotImplementedError) as error:
        raise ArchiveError(
            f"{name} cannot be unpacked: {error}. The archive may be whole: unpack it yourself (7-Zip reads most), and "
            "run `uir fetch ID --from DIR` with its folder"
        ) from error
    # The libraries raise nearly every kind of error about bytes that do not fit.
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise StorageError(f"{name}: cannot be read: {error.strerror or error}") from error
        # Errors about the bytes have no number, but for a place before the start of the file.
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArchiveError(
            f"{name} cannot be unpacked: {why}. It is truncated or not what its name says; delete it and download it "
            "again"
        ) from error


def kind_of_name(name: str) -> str:
    """Return the format of an archive by its file name; "" for a plain file."""
    lower = name.lower()
    for kind, endings in _ENDINGS.items():
        if lower.endswith(endings):
            return kind
    return ""


def fault_of(kind: str, parts: Sequence[Path]) -> str:
    """Return why a file cannot be an archive of this format, by a quick check; "" if no fault is visible."""
    with parts[0].open("rb") as file:
        head = file.read(512)
    if kind == "zip":
        with _joined(parts) as whole:
            if not zipfile.is_zipfile(whole):
                what = "truncated" if head.startswith(b"PK") else "not a zip"
                return f"it is {what}: the directory at its end is missing"
        return ""
    starts = _STARTS.get(kind)
    if starts and not head.startswith(starts):
        return f"it is not a {kind} archive: it begins with {head[:8]!r}"
    return ""


_ZIP_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_OTHER_ZIP_METHODS: Mapping[int, str] = MappingProxyType(
    {6: "implode", 9: "deflate64", 93: "zstd", 95: "xz", 98: "PPMd", 99: "AES"}
)
_ENDINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "zip": (".zip",),
        "tar": (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst"),
        "7z": (".7z",),
        "rar": (".rar",),
        "parquet": (".parquet",),
        "mat": (".mat",),
    }
)
_STARTS: Mapping[str, bytes | tuple[bytes, ...]] = MappingProxyType(
    {"7z": b"7z\xbc\xaf\x27\x1c", "rar": b"Rar!\x1a\x07", "parquet": b"PAR1", "mat": (b"MATLAB 5.0", b"MATLAB 7.3")}
)


def _joined(parts: Sequence[Path]) -> BinaryIO:
    if len(parts) == 1:
        return parts[0].open("rb")
    return io.BufferedReader(Joined(parts), 1 << 20)


def _zip(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    with _joined(parts) as whole:
        _refuse_huge_directory(whole, parts[0].name, limits)
        whole.seek(0)
        with zipfile.ZipFile(whole) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    continue
                mode = info.external_attr >> 16
                if info.compress_type not in _ZIP_METHODS:
                    method = _OTHER_ZIP_METHODS.get(info.compress_type, str(info.compress_type))
                    raise UnsupportedArchive(f"{info.filename} is compressed by {method}, which is not read here")
                if info.flag_bits & 1:
                    raise ArchiveError(f"{parts[0].name} is password-protected; unpack it yourself and use --from")
                if stat.S_ISLNK(mode):
                    target = archive.read(info).decode("utf-8", "replace") if info.file_size < 4096 else "/"
                    yield Member(info.filename, "symlink", 0, target, io.BytesIO)
                elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
                    yield Member(info.filename, "file", info.file_size, "", partial(archive.open, info))
                else:
                    yield Member(info.filename, "device", 0, "", io.BytesIO)


def _refuse_huge_directory(whole: BinaryIO, name: str, limits: Limits) -> None:
    """Read the declared number of entries of a zip, before zipfile makes an object of each."""
    size = whole.seek(0, io.SEEK_END)
    whole.seek(max(0, size - 66_000))
    tail = whole.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    at64 = tail.rfind(b"PK\x06\x06", 0, at)
    if at64 >= 0 and len(tail) >= at64 + 48:
        count = int.from_bytes(tail[at64 + 32 : at64 + 40], "little")
        length = int.from_bytes(tail[at64 + 40 : at64 + 48], "little")
    # The count may be wrong, the length cannot: zipfile reads by it. An entry has at least 46 bytes.
    if count > limits.entries or length > limits.entries * (46 + limits.name_bytes):
        raise ArchiveError(f"{name} declares {count:,} entries, more than any published source. Nothing of it is kept")


def _tar(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(_joined(parts))
        yield from tar_members(decompressed(raw, stack), parts[0].name, limits)


def _seven_zip(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    try:
        import py7zr
    except ModuleNotFoundError:
        raise ArchiveError(f"{parts[0].name} is a 7z archive: pip install py7zr, and run the command again") from None
    from uirdata.storage.formats.seven_zip import opened

    with _joined(parts) as whole, opened(py7zr, whole) as archive:
        if archive.needs_password():
            raise ArchiveError(f"{parts[0].name} is password-protected; unpack it yourself and use --from")
        infos = [info for info in archive.files if not info.is_directory]
        for info in infos:
            if info.is_junction or info.is_socket:
                yield Member(info.filename, "device", 0, "", io.BytesIO)
        sizes = {info.filename: info.uncompressed for info in infos}
        declared = sum(sizes.values())
        packed = sum(part.stat().st_size for part in parts)
        if declared > limits.total(packed) or len(infos) > limits.entries:
            raise ArchiveError(f"{parts[0].name} would unpack to {declared:,} bytes in {len(infos):,} files; refused")
        yield from _through_pipe(archive, sizes, {info.filename for info in infos if info.is_symlink})


def _through_pipe(archive: object, sizes: Mapping[str, int], links: Collection[str]) -> Iterator[Member]:
    """Let py7zr push its files through a bounded queue, so that no file has to fit into memory."""
    from uirdata.storage.formats.seven_zip import pushed_members

    for name, stream in pushed_members(archive):
        if name in links:
            # The target of a link is stored as its bytes.
            yield Member(name, "symlink", 0, (stream.read(4096) or b"").decode("utf-8", "replace"), io.BytesIO)
            continue
        yield Member(name, "file", sizes.get(name), "", partial(_same, stream))


def _same(stream: Readable) -> Readable:
    return stream


def _rar(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    from uirdata.storage.formats import rar

    program = rar.find_program(parts)
    if program.gives_tar:
        with rar.as_tar(program, parts[0]) as stream:
            for member in tar_members(stream, parts[0].name, limits):
                if member.kind == "file" and not member.size and is_image_name(member.name):
                    # bsdtar returns files without bytes if the archive stores them as references to equal ones.
                    raise ArchiveError(
                        f"{parts[0].name}: bsdtar reads no bytes of {member.name}; unpack it yourself with unrar, and "
                        "use --from"
                    )
                yield member
        return
    for name, opener in rar.members(program, parts[0], limits.entries):
        yield Member(name, "file", None, "", opener)


def _parquet(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    from uirdata.storage.formats.tabular import parquet_images

    for name, data in parquet_images(parts, limits):
        yield Member(name, "file", len(data), "", partial(io.BytesIO, data))


def _mat(parts: Sequence[Path], limits: Limits) -> Iterator[Member]:
    from uirdata.storage.formats.tabular import mat_images

    for name, data in mat_images(parts[0], limits):
        yield Member(name, "file", len(data), "", partial(io.BytesIO, data))


_READERS: Mapping[str, Callable[[Sequence[Path], Limits], Iterator[Member]]] = MappingProxyType(
    {"zip": _zip, "tar": _tar, "7z": _seven_zip, "rar": _rar, "parquet": _parquet, "mat": _mat}
)
