"""Images in parquet tables and MATLAB files, as files with names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from uirdata.errors import ArchiveError
from uirdata.images import encode_image
from uirdata.storage.formats.matlab import uint8_arrays
from uirdata.storage.formats.members import Limits

_NAME_COLUMNS = ("path", "file_name", "filename", "image_path", "__key__", "name", "id")
_STARTS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp"), (b"II*\x00", ".tif"), (b"MM\x00*", ".tif"))


def parquet_images(parts: Sequence[Path], limits: Limits) -> Iterator[tuple[str, bytes]]:
    """
    Yield (path, encoded image) for all images of a table, row by row.

    If a column of paths is beside a single column of images: the paths. Otherwise `<column>/<name>`, where the name is
    that of a path or name column, or the one stored with the image, or `<table>-<row>`. The images are not decoded.

    Args:
        parts: the table.
        limits: on the number of rows, and on their bytes.

    Raises:
        ArchiveError: it is not a parquet file, has no images, too many rows, or too many bytes for its size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in parts:
        try:
            with pq.ParquetFile(part) as table:
                schema = table.schema_arrow
                if table.metadata.num_rows > limits.entries:
                    raise ArchiveError(f"{part.name} has {table.metadata.num_rows:,} rows; no published table has")
                groups = (table.metadata.row_group(index) for index in range(table.metadata.num_row_groups))
                # pyarrow unpacks a whole page at once.
                _refuse_if_larger(part, sum(group.total_byte_size for group in groups), limits)
                images = [f.name for f in schema if _holds_images(f.type) or (pa.types.is_binary(f.type))]
                names = [name for name in _NAME_COLUMNS if name in schema.names and name not in images]
                if not images:
                    raise ArchiveError(f"{part.name} has no column of images; it has {', '.join(schema.names)}")
                row = 0
                for batch in table.iter_batches(batch_size=16, columns=images + names[:1]):
                    for values in batch.to_pylist():
                        yield from _row_images(values, images, names[:1], f"{part.stem}-{row:06d}")
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise ArchiveError(f"{part.name} cannot be read as parquet: {error}; download it again") from error


def mat_images(path: Path, limits: Limits) -> Iterator[tuple[str, bytes]]:
    """
    Yield (path, PNG) for all images in a MATLAB file: `<variable>/<index>.png`, the indices from 0, as "12-31".

    Arrays of uint8 with the shape (..., H, W, 3) are images; other variables are skipped.

    Args:
        path: the file.
        limits: on the bytes of its images; those of one variable are in memory at once.

    Raises:
        ArchiveError: it has no images. `packed.reading` handles the errors about damaged bytes.
    """
    others: list[str] = []
    found = False
    for name, array in uint8_arrays(path, limits.total(path.stat().st_size)):
        if array is None or array.ndim < 3 or array.shape[-1] != 3:
            others.append(name)
            continue
        found = True
        for index in itertools.product(*(range(size) for size in array.shape[:-3])):
            label = "-".join(str(i) for i in index) or "0"
            yield f"{name}/{label}.png", encode_image(np.ascontiguousarray(array[index]), "png")
    if not found:
        raise ArchiveError(f"{path.name} has no images; its variables are {', '.join(sorted(others)[:20])}")


def _refuse_if_larger(path: Path, declared: int, limits: Limits) -> None:
    if declared > limits.total(path.stat().st_size):
        raise ArchiveError(f"{path.name} would unpack to {declared:,} bytes; no published source does")


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _row_images(
    values: dict[str, Any], images: Sequence[str], names: Sequence[str], fallback: str
) -> Iterator[tuple[str, bytes]]:
    for column in images:
        held = values[column]
        data = held["bytes"] if isinstance(held, dict) else held
        if not data:
            continue
        carried = str(held.get("path") or "") if isinstance(held, dict) else ""
        named = str(values[names[0]]) if names and values[names[0]] is not None else carried
        ending = next((end for start, end in _STARTS if data.startswith(start)), "")
        if data[:4] == b"RIFF":
            ending = ".webp"
        path = PurePosixPath((named or fallback).lstrip("/"))
        stem = (
            path.name
            if path.suffix.lower() == ending or not ending
            else (path.stem if path.suffix else path.name) + ending
        )
        if len(images) == 1 and names:
            yield str(path.with_name(stem)), data
        elif len(images) == 1:
            yield stem, data
        else:
            yield f"{column}/{stem}", data
