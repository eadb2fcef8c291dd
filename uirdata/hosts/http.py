"""Plain URLs, and share links of Dropbox, OneDrive and Yandex, which become plain URLs after one more step."""

from __future__ import annotations

from uirdata.hosts.base import Listed
from uirdata.hosts.share_links import direct_address
from uirdata.hosts.web import WebClient
from uirdata.transfer import Incoming, Reach, Unreachable, redacted


class Http:
    """`where` is the URL."""

    connections = 4

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def reach(self, where: str) -> Reach:
        """Plain URLs need no account."""
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Return the URL, without a password in it."""
        return redacted(where)

    def is_folder(self, where: str) -> bool:
        """Return False: a URL is one file."""
        return False

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a URL; if a URL shortener redirects to a share link, that link is resolved."""
        address, headers = direct_address(where, self._client)
        incoming = self._client.open(address, start=start, stop=stop, validator=validator, secret_headers=headers)
        again, headers = direct_address(incoming.url, self._client)
        if again == incoming.url or again == address or not incoming.content_type.startswith("text/html"):
            return incoming
        incoming.close()
        return self._client.open(again, start=start, stop=stop, validator=validator, secret_headers=headers)

    def files(self, where: str) -> tuple[Listed, ...]:
        """Raise Unreachable: a URL is one file."""
        raise Unreachable(f"{redacted(where)}: a plain URL cannot be listed")
