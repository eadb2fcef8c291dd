"""Shared files and folders of Google Drive, including the HTML pages that it sends instead of files."""

from __future__ import annotations

import urllib.parse
from html.parser import HTMLParser

from uirdata.hosts.base import Listed
from uirdata.hosts.web import WebClient, read_text
from uirdata.transfer import Incoming, Reach, Unreachable

_MAX_FOLDERS = 2000


class GoogleDrive:
    """
    `where` is the id of a file, "folder:ID" for all files of a folder, or "folder:ID/name" for one file of it.

    Drive asks for confirmation before it sends files that it did not scan for viruses; this class confirms. A quota
    page is an error with the three ways out. The pages are parsed here rather than by gdown, whose addresses are fixed
    and which writes files itself, so that neither a test on 127.0.0.1 nor our resuming could use it.
    """

    # More simultaneous streams exhaust the quota sooner.
    connections = 1

    def __init__(
        self,
        client: WebClient,
        *,
        files_at: str = "https://drive.usercontent.google.com",
        folders_at: str = "https://drive.google.com",
    ) -> None:
        self._client = client
        self._files_at = files_at
        self._folders_at = folders_at

    def reach(self, where: str) -> Reach:
        """Shared links need no account, until the quota is exceeded."""
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Return the address of the page in a browser."""
        if where.startswith("folder:"):
            return f"https://drive.google.com/drive/folders/{where[7:].partition('/')[0]}"
        return f"https://drive.google.com/file/d/{where}/view"

    def is_folder(self, where: str) -> bool:
        """Return whether it is "folder:ID"."""
        return where.startswith("folder:") and "/" not in where

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file, through the confirmation page if there is one."""
        if where.startswith("folder:"):
            where = self._named(where)
        query = urllib.parse.urlencode({"id": where, "export": "download", "confirm": "t"})
        url = f"{self._files_at}/download?{query}"
        incoming = self._client.open(url, start=start, stop=stop, validator=validator)
        if not incoming.content_type.startswith("text/html"):
            return incoming
        page = read_text(incoming)
        form = _DownloadForm()
        form.feed(page)
        if form.action:
            again = urllib.parse.urljoin(url, form.action) + "?" + urllib.parse.urlencode(form.fields)
            incoming = self._client.open(again, start=start, stop=stop, validator=validator)
            if not incoming.content_type.startswith("text/html"):
                return incoming
            page = read_text(incoming)
        raise self._refusal(where, page)

    def files(self, where: str) -> tuple[Listed, ...]:
        """Return the files of a folder and its subfolders."""
        identity = where.removeprefix("folder:").partition("/")[0]
        found: list[Listed] = []
        waiting = [("", identity)]
        seen = {identity}
        while waiting:
            prefix, folder = waiting.pop()
            page = self._client.page(f"{self._folders_at}/embeddedfolderview?id={urllib.parse.quote(folder)}")
            entries = _FolderPage()
            entries.feed(page)
            if not entries.is_listing:
                raise self._refusal(where, page)
            for name, entry, is_folder in entries.entries:
                path = prefix + name.replace("/", "_")
                if not is_folder:
                    found.append(Listed(path, entry))
                elif entry not in seen:
                    if len(seen) >= _MAX_FOLDERS:
                        raise Unreachable(f"{self.link(where)} has more than {_MAX_FOLDERS} folders")
                    seen.add(entry)
                    waiting.append((path + "/", entry))
        return tuple(sorted(found, key=lambda listed: listed.path))

    def _named(self, where: str) -> str:
        folder, _, name = where.partition("/")
        listed = self.files(folder)
        for entry in listed:
            if entry.path == name or entry.path.rpartition("/")[2] == name:
                return entry.where
        names = ", ".join(entry.path for entry in listed[:8]) or "nothing"
        raise Unreachable(f"{self.link(where)} has no file {name}; it has {names}")

    def _refusal(self, where: str, page: str) -> Unreachable:
        text = page.lower()
        if "quota" in text or "too many users" in text:
            return Unreachable(
                f"{self.link(where)}: Google sent its quota page instead of the file: too many downloads today. "
                "Try again after 24 hours, or set the cookies of a browser that is logged in "
                "(UIR_COOKIES=cookies.txt), or copy the file to your own Drive, download it in a browser and use --from"
            )
        if "sign in" in text or "accounts.google.com" in text or "request access" in text:
            return Unreachable(
                f"{self.link(where)} requires a login: set the cookies of a browser that has access "
                "(UIR_COOKIES=cookies.txt), or download it in a browser and use --from"
            )
        return Unreachable(f"{self.link(where)}: Google sent a page instead of the file")


class _DownloadForm(HTMLParser):
    """The form with id "download-form": its target address and its fields."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: list[tuple[str, str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("id") in ("download-form", "downloadForm"):
            self.action = given.get("action", "")
            self._inside = True
        elif tag == "input" and self._inside and given.get("name"):
            self.fields.append((given["name"], given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class _FolderPage(HTMLParser):
    """The entries of a folder's embeddable page: (name, id, is a folder)."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[str, str, bool]] = []
        self.is_listing = False
        self._entry = ""
        self._is_folder = False
        self._in_title = False
        self._title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        if any(name.startswith("flip-") for name in classes) or given.get("id", "").startswith("folder-view"):
            self.is_listing = True
        if "flip-entry" in classes:
            self._entry = given.get("id", "").removeprefix("entry-")
            self._is_folder = False
        elif tag == "a" and self._entry and "/folders/" in given.get("href", ""):
            self._is_folder = True
        elif "flip-entry-title" in classes:
            self._in_title, self._title = True, ""

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title += data

    def handle_endtag(self, tag: str) -> None:
        if self._in_title:
            self._in_title = False
            if self._entry and self._title.strip():
                self.entries.append((self._title.strip(), self._entry, self._is_folder))
            self._entry = ""
