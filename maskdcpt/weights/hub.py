"""Weights downloaded from the Hugging Face Hub."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

from uirdata.errors import DownloadError, UsageError

WEIGHTS = "model.safetensors"


_PLACE = re.compile(
    r"(?i)hf://(?:models/)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@/]+))?(?:/(?P<file>[^@]+\.(?:"
    r"pth|safetensors|pt|ckpt|bin|pkl|pth\.tar)))?"
)


def fetch_model(place: str, *, cached_only: bool = False) -> Path:
    """
    Download a model from the Hub, unless it is in the local cache; return the path of the file.

    Args:
        place: hf://OWNER/NAME, hf://OWNER/NAME@REVISION, or one of its files: hf://OWNER/NAME/nafnet.pth.
        cached_only: connect to nothing; what is not in the cache is an error.

    Raises:
        UsageError: `place` is not a valid address.
        DownloadError: there is no such model or file, or the download failed.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    match = _PLACE.fullmatch(place)
    if not match:
        raise UsageError(
            f"{place!r} is not the address of a model; write it like hf://owner/name or hf://owner/name/file.pth"
        )
    file = match["file"] or WEIGHTS
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    try:
        return Path(
            hf_hub_download(
                match["repo"], file, revision=match["revision"], endpoint=endpoint, local_files_only=cached_only
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise DownloadError(f"{place}: {file} cannot be downloaded ({reason})") from error
