"""Files inside installed Python packages: the only host that needs no network."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from uirdata.hosts.base import Listed
from uirdata.transfer import Incoming, RangeRefused, Reach, Unreachable
from uirdata.validators import InvalidValue, relative_path


class Package:
    """`where` is "distribution:path/in/it", such as "scikit-image:skimage/data/coffee.png"."""

    connections = 1

    def reach(self, where: str) -> Reach:
        """Return whether the package is installed."""
        try:
            _locate(where)
        except Unreachable as error:
            return Reach("by hand", str(error))
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Return the address of the page of the package."""
        return f"https://pypi.org/project/{where.partition(':')[0]}/"

    def is_folder(self, where: str) -> bool:
        """Return whether the path ends in "/"."""
        return where.endswith("/")

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open the installed file; its validator is the version of the package."""
        path, version = _locate(where)
        size = path.stat().st_size
        if start > size or (start == size and size):
            raise RangeRefused(f"{path} has {size} bytes, but bytes from {start} on were requested")
        if validator and validator != version:
            start = 0
        file = path.open("rb")
        file.seek(start)
        end = size if stop is None else min(stop, size)
        return Incoming(
            url=f"package:{where}",
            start=start,
            total=size,
            validator=version,
            ranges=True,
            content_type="",
            chunks=_chunks(file, end - start),
            close=file.close,
        )

    def files(self, where: str) -> tuple[Listed, ...]:
        """Return the package's files below one of its folders."""
        distribution, _, folder = where.partition(":")
        installed = _distribution(distribution, where)
        prefix = folder.strip("/") + "/" if folder.strip("/") else ""
        names = sorted(str(p) for p in installed.files or [] if str(p).startswith(prefix))
        return tuple(
            Listed(
                path=name[len(prefix) :],
                where=f"{distribution}:{name}",
                size=_locate(f"{distribution}:{name}")[0].stat().st_size,
            )
            for name in names
            if Path(str(installed.locate_file(name))).is_file()
        )


def _chunks(file: BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (block := file.read(min(left, 1 << 18))):
            left -= len(block)
            yield block


def _locate(where: str) -> tuple[Path, str]:
    distribution, colon, path = where.partition(":")
    if not colon or not path:
        raise Unreachable(f"{where!r} is not a file in a package; expected distribution:path/in/it")
    installed = _distribution(distribution, where)
    try:
        located = Path(str(installed.locate_file(relative_path(path))))
    except InvalidValue as error:
        raise Unreachable(f"{where!r} is not a file in a package: {error}") from error
    if not located.is_file():
        raise Unreachable(
            f"{distribution} {installed.version} has no file {path}; install the version that the manifest was made "
            'for: pip install "universal-image-restoration[demo]"'
        )
    return located, installed.version


def _distribution(name: str, where: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise Unreachable(
            f"{where} is in the package {name}, which is not installed: "
            f'pip install "universal-image-restoration[demo]" (or pip install {name})'
        ) from None
