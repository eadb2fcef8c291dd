"""Reading of pickled files of weights, of which only tensors and plain values are read, and the reason where not."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskdcpt.weights.checkpoints import CheckpointError
from uirdata.validators import shown

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The number, as a pickle has it, with which files of torch before release 1.6 begin."""

_OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x89HDF": "an HDF5 file; only files of torch and .safetensors are read",
    b"\x93NUMPY": "a NumPy array; only files of torch and .safetensors are read",
    b"\x08": "an ONNX model, which is not read; use the weights that it was exported from",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS, without the file; `git lfs pull` fetches it",
    b"<": "an HTML or XML text, often the page of a failed download; download the file itself",
}
"""First bytes of files that people name by mistake, and what these are."""

_SAVE_ALONE = "In the program that wrote it, save the weights alone: torch.save(network.state_dict(), FILE)"

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|[Uu]nsupported class ([\w.]+)")


def is_pickled(file: Path) -> bool:
    """Return whether a file is not in the format of safetensors, whatever its name ends with."""
    head = _head(file)
    return head[8:9] != b"{" and (head.startswith((_ZIP, _PICKLE)) or file.suffix.lower() != ".safetensors")


def read_pickled(file: Path) -> object:
    """
    Return what `torch.save` wrote: tensors, plain values and scalars of NumPy; nothing else is loaded.

    Raises:
        CheckpointError: the file is of another kind, is truncated or damaged, or contains other objects.
    """
    head = _head(file)
    if not head:
        raise CheckpointError(f"{file}: is empty; copy or download it again")
    if head.startswith(_ZIP):
        _check_zip(file)
    elif not (head.startswith(_PICKLE) and _LEGACY in head[:32]):
        raise CheckpointError(f"{file}: is not a file of weights: {kind_of(head)}")
    try:
        # An open file: of a path, torch takes the ending for the format.
        with torch.serialization.safe_globals(_numpy_scalars()), file.open("rb") as opened:
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises exceptions of many classes
        raise CheckpointError(f"{file}: {_reason(error, whole=head.startswith(_ZIP))}") from error


def kind_of(head: bytes) -> str:
    """Return what the first bytes of a file say that it is, in place of weights."""
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it, and name the weights in it"
    if head.startswith(_PICKLE):
        return f"a pickle that torch.save did not write, which could run code on loading. {_SAVE_ALONE}"
    return next((kind for start, kind in _OTHERS.items() if head.startswith(start)), f"it begins with {head[:12]!r}")


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(512)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror or error}") from error


def _check_zip(file: Path) -> None:
    """Refuse an archive that is truncated or damaged, is not torch's, or is larger unpacked than on the disk."""
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            names = [part.filename for part in parts]
            if not any(name.endswith("data.pkl") for name in names):
                raise CheckpointError(
                    f"{file}: is a zip archive, but not one of torch; unpack it, and name the weights"
                )
            if any(name.endswith("/constants.pkl") for name in names):
                raise CheckpointError(
                    f"{file}: is a TorchScript program, which contains code and is not loaded; save the state dict of "
                    "the network alone"
                )
            packed = next((part.filename for part in parts if part.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:
                raise CheckpointError(f"{file}: its part {packed} is compressed, which torch does not do; save it anew")
            stored = sum(part.file_size for part in parts)
            if stored > file.stat().st_size:
                raise CheckpointError(
                    f"{file}: its parts have {stored} bytes, more than the file itself; it is damaged"
                )
            # torch does not check the checksums that it writes.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{file}: is truncated ({error}); copy or download it again") from error
    except (OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error
    if damaged is not None:
        raise CheckpointError(
            f"{file}: is damaged: {damaged} does not have the checksum stored with it; copy or download it again"
        )


def _reason(error: Exception, *, whole: bool) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _NotANumber):
            return f"contains objects of NumPy other than numbers, and is not loaded: {cause}. {_SAVE_ALONE}"
        cause = cause.__context__
    found = _GLOBAL.search(str(error))
    if found is not None:
        return (
            f"contains objects other than tensors ({found[1] or found[2]}), which could run code on loading, and is "
            f"not loaded. {_SAVE_ALONE}"
        )
    if whole:
        return f"its pickle is not one of weights ({type(error).__name__}); save the state dict of the network alone"
    return f"is truncated, or no file that torch wrote ({type(error).__name__}); copy or download it again"


def _numpy_scalars() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what a pickled scalar of NumPy consists of: its type and its bytes, both of numbers alone."""
    return [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_dtype, "numpy.dtype"),
        *{type(np.dtype(code)) for code in _CODES},
    ]


class _NotANumber(pickle.UnpicklingError):
    """A pickle holds something of NumPy that is not a number."""


_CODES = "?bhilqBHILQefd"


def _dtype(code: object, *_: object) -> np.dtype[Any]:
    found = np.dtype(code) if isinstance(code, str) and len(code) <= 3 else None  # such as f8
    if found is None or found.char not in _CODES:
        raise _NotANumber(f"its type {shown(code)}")
    # Always a copy: what a pickle does to the type must not change that of this process.
    return np.dtype(found, copy=True)


def _scalar(dtype: object, data: object) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.char not in _CODES or not isinstance(data, bytes):
        raise _NotANumber("a scalar")
    return np.frombuffer(data, dtype, count=1)[0]
