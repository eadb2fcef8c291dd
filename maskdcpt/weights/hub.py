"""Weights downloaded from the Hugging Face Hub."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

from uirdata.errors import DownloadError, UsageError

WEIGHTS = "model.safetensors"


_PLACE = re.compile(
    r"hf://(?:models/)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@/]+))?(?:/(?P<file>[^@]+\.(?:pth|safetensors)))?"
)


def fetch_model(place: str) -> Path:
    """
    Bring a model of the Hub home, or take the copy that is here.

    Args:
        place: hf://OWNER/NAME, hf://OWNER/NAME@REVISION, or with a file of it: hf://OWNER/NAME/nafnet.pth.

    Raises:
        UsageError: the address is none.
        DownloadError: it is not there, or did not arrive.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    match = _PLACE.fullmatch(place)
    if not match:
        raise UsageError(f"{place!r} is no place of a model; write it like hf://owner/name or hf://owner/name/file.pth")
    file = match["file"] or WEIGHTS
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    try:
        return Path(hf_hub_download(match["repo"], file, revision=match["revision"], endpoint=endpoint))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        said = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise DownloadError(f"{place}: {file} did not arrive ({said})") from error
