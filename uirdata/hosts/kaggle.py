"""Data sets of Kaggle."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from uirdata.hosts.base import Listed
from uirdata.hosts.web import WebClient
from uirdata.transfer import Incoming, Reach, Unreachable

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TODO = (
    "create a token at https://www.kaggle.com/settings (API, Create New Token) and save it as ~/.kaggle/kaggle.json, "
    "or set KAGGLE_USERNAME and KAGGLE_KEY"
)


class Kaggle:
    """
    `where` is "owner/name" for the whole data set as one zip, or "owner/name:path" for one file.

    Its API consists of two URLs, so neither `kaggle` nor `kagglehub` is needed, which both write files themselves.
    """

    # The zip of a whole data set is made on the fly, and has no ranges.
    connections = 1

    def __init__(self, client: WebClient, *, endpoint: str = "https://www.kaggle.com") -> None:
        self._client = client
        self._endpoint = endpoint

    def reach(self, where: str) -> Reach:
        """Return whether the account's token is configured."""
        return Reach("automatic") if _credentials() else Reach("token", _TODO)

    def link(self, where: str) -> str:
        """Return the address of the page of the data set."""
        return f"https://www.kaggle.com/datasets/{where.partition(':')[0]}"

    def is_folder(self, where: str) -> bool:
        """Return False: a whole data set is one zip."""
        return False

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file or the zip."""
        name, _, path = where.partition(":")
        # The user's token is sent along, and must not reach anything else at that address.
        if not _NAME.fullmatch(name) or ".." in path.split("/"):
            raise Unreachable(f"{where!r} is no data set of Kaggle; expected owner/name or owner/name:path")
        url = f"{self._endpoint}/api/v1/datasets/download/{urllib.parse.quote(name)}"
        if path:
            url += "/" + urllib.parse.quote(path)
        headers = _credentials()
        try:
            return self._client.open(url, start=start, stop=stop, validator=validator, secret_headers=headers)
        except Unreachable as error:
            if not headers:
                raise Unreachable(f"{error}; {_TODO}") from error
            raise

    def files(self, where: str) -> tuple[Listed, ...]:
        """Raise Unreachable: a whole data set is one zip."""
        raise Unreachable(f"{self.link(where)}: is one zip and cannot be listed")


def _credentials() -> Mapping[str, str]:
    user, key = os.environ.get("KAGGLE_USERNAME", ""), os.environ.get("KAGGLE_KEY", "")
    if not (user and key):
        folder = os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle"
        try:
            held = json.loads((Path(folder) / "kaggle.json").read_text())
            user, key = str(held["username"]), str(held["key"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}
