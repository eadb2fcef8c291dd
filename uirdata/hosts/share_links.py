"""Direct download URLs of share links: Dropbox, OneDrive, SharePoint, Yandex."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Mapping

from uirdata.hosts.connections import split_url
from uirdata.hosts.web import WebClient
from uirdata.transfer import Unreachable, redacted

_YANDEX = "https://cloud-api.yandex.net/v1/disk/public/resources/download?public_key="
_ONEDRIVE = "https://my.microsoftpersonalcontent.com/_api/v2.0/shares/"
_ONEDRIVE_TOKEN = "https://api-badgerp.svc.ms/v1.0/token"
# The public client id of OneDrive's own web page; visitors without an account get their token with it.
_ONEDRIVE_PAGE = "5cbed6ac-a083-4e14-b191-b4ba07653de2"


def direct_address(link: str, client: WebClient) -> tuple[str, Mapping[str, str]]:
    """
    Return the direct URL of a share link, and the headers that it needs; other URLs are returned unchanged.

    Raises:
        Unreachable: the service does not know the link.
        Interrupted: the service is busy.
    """
    parts = split_url(link)
    host = (parts.hostname or "").lower()
    if host == "dropbox.com" or host.endswith(".dropbox.com"):
        return _with_query(parts, dl="1"), {}
    if host.endswith(".sharepoint.com"):
        return _with_query(parts, download="1"), {}
    if host in ("1drv.ms", "onedrive.live.com"):
        return _onedrive(link, client)
    if host in ("disk.yandex.ru", "disk.yandex.com", "yadi.sk", "disk.360.yandex.ru"):
        return _yandex(link, client), {}
    return link, {}


def share_id(link: str) -> str:
    """
    Return a link encoded as the id that OneDrive's API takes.

    >>> share_id("https://1drv.ms/u/s!AimB")
    'u!aHR0cHM6Ly8xZHJ2Lm1zL3UvcyFBaW1C'
    """
    return "u!" + base64.urlsafe_b64encode(link.encode()).decode().rstrip("=")


def _with_query(parts: urllib.parse.SplitResult, **changes: str) -> str:
    query = [(k, v) for k, v in urllib.parse.parse_qsl(parts.query, keep_blank_values=True) if k not in changes]
    return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query + list(changes.items()))))


def _onedrive(link: str, client: WebClient) -> tuple[str, Mapping[str, str]]:
    answer = client.json(_ONEDRIVE_TOKEN, send={"appId": _ONEDRIVE_PAGE})
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, str):
        raise Unreachable(
            f"{redacted(link)}: OneDrive returned no visitor token; open the link in a browser and use --from"
        )
    headers = {"Authorization": f"Badger {token}", "Prefer": "autoredeem"}
    return f"{_ONEDRIVE}{share_id(link)}/driveitem/content", headers


def _yandex(link: str, client: WebClient) -> str:
    answer = client.json(_YANDEX + urllib.parse.quote(redacted(link), safe=""))
    href = answer.get("href") if isinstance(answer, dict) else None
    if not isinstance(href, str):
        raise Unreachable(f"{redacted(link)}: Yandex returned no download URL for it")
    return href
