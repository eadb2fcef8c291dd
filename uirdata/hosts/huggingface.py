"""Files of the Hugging Face Hub: models, datasets and spaces, open or gated, from the Hub or a mirror of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any

from uirdata.errors import DownloadError
from uirdata.hosts.base import Listed
from uirdata.hosts.web import LATER, WebClient, retry_after
from uirdata.transfer import Incoming, Interrupted, Reach, Unreachable, redacted

_TYPES = ("dataset", "model", "space")


@dataclass(frozen=True)
class _Place:
    repo_type: str
    repo: str
    revision: str
    path: str


@dataclass(frozen=True)
class _Known:
    commit: str
    etag: str
    size: int | None


class HuggingFace:
    """
    `where` is "dataset:owner/name@revision:path"; a path that is empty or ends in "/" is a folder.

    HF_TOKEN (or a login of `hf auth login`), HF_ENDPOINT and HF_HUB_OFFLINE apply. The metadata of a file are read
    through huggingface_hub; its bytes come over plain HTTP, so that ranges and resuming work as for all hosts.
    """

    connections = 4

    def __init__(self, client: WebClient, *, endpoint: str = "") -> None:
        self._client = client
        self._endpoint = endpoint
        self._known: dict[str, _Known] = {}

    def reach(self, where: str) -> Reach:
        """Return whether the Hub may be used; whether a repository is gated is known only after a request."""
        if _offline():
            return Reach("by hand", "HF_HUB_OFFLINE is set; unset it, or download the file elsewhere and use --from")
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Return the address of the page of the repository."""
        place = _parsed(where)
        prefix = "" if place.repo_type == "model" else place.repo_type + "s/"
        return f"{redacted(self._base())}/{prefix}{place.repo}"

    def is_folder(self, where: str) -> bool:
        """Return whether the path is empty or ends in "/"."""
        return not (path := _parsed(where).path) or path.endswith("/")

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file of a repository at one commit, so that later requests read the same version."""
        from huggingface_hub import get_token, hf_hub_url

        place = _parsed(where)
        known = self._ask(where, place)
        if validator and validator != known.etag:
            start, stop = 0, None
        url = hf_hub_url(
            place.repo, place.path, repo_type=place.repo_type, revision=known.commit or None, endpoint=self._base()
        )
        token = get_token()
        secret = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            incoming = self._client.open(url, start=start, stop=stop, secret_headers=secret)
        except DownloadError:
            # The branch may have moved, and the commit may have been deleted.
            self._known.pop(where, None)
            raise
        digests = {"sha256": known.etag} if len(known.etag) == 64 else {}
        total = incoming.total if incoming.total is not None else known.size
        return replace(incoming, url=redacted(url), validator=known.etag, digests=digests, total=total)

    def files(self, where: str) -> tuple[Listed, ...]:
        """Return the files of a folder of a repository, without its hidden files."""
        from huggingface_hub import HfApi

        place = _parsed(where)
        api = HfApi(endpoint=self._base())
        prefix = place.path.strip("/")
        entries = _through_hub(
            self.link(where),
            lambda: list(
                api.list_repo_tree(
                    place.repo,
                    prefix or None,
                    recursive=True,
                    revision=place.revision or None,
                    repo_type=place.repo_type,
                )
            ),
        )
        head = where[: len(where) - len(place.path)]
        found = []
        for entry in entries:
            size = getattr(entry, "size", None)
            name = entry.path[len(prefix) + 1 :] if prefix else entry.path
            if size is None or any(part.startswith(".") for part in name.split("/")):
                continue
            lfs = getattr(entry, "lfs", None)
            found.append(
                Listed(name, (head if head.endswith(":") else head + ":") + entry.path, size, lfs.sha256 if lfs else "")
            )
        return tuple(sorted(found, key=lambda listed: listed.path))

    def pinned(self, where: str) -> str:
        """
        Return `where` with the current commit, so that files opened later are of one commit.

        Raises:
            Unreachable: there is no such file.
            Interrupted: try again later.
        """
        place = _parsed(where)
        commit = self._ask(where, place).commit
        return f"{place.repo_type}:{place.repo}@{commit}:{place.path}"

    def _base(self) -> str:
        # huggingface_hub reads HF_ENDPOINT once, at its import; this module may be imported before it is set.
        return (self._endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    def _ask(self, where: str, place: _Place) -> _Known:
        from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

        if where not in self._known:
            url = hf_hub_url(
                place.repo,
                place.path,
                repo_type=place.repo_type,
                revision=place.revision or None,
                endpoint=self._base(),
            )
            metadata = _through_hub(
                self.link(where),
                lambda: get_hf_file_metadata(url, token=get_token(), timeout=30, endpoint=self._base()),
            )
            self._known[where] = _Known(metadata.commit_hash or "", metadata.etag or "", metadata.size)
        return self._known[where]


def _parsed(where: str) -> _Place:
    """
    Return the parts of `where`.

    >>> _parsed("dataset:snah/REDS@main:train_sharp.zip")
    _Place(repo_type='dataset', repo='snah/REDS', revision='main', path='train_sharp.zip')
    """
    repo_type, _, rest = where.partition(":")
    repo, _, path = rest.partition(":")
    repo, _, revision = repo.partition("@")
    if repo_type not in _TYPES or repo.count("/") != 1:
        raise Unreachable(f"{where!r} is not a valid Hub location; expected dataset:owner/name@revision:path")
    return _Place(repo_type, repo, revision, path)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _through_hub(link: str, ask: Any) -> Any:
    from huggingface_hub import errors

    if _offline():
        raise Unreachable(f"{link}: HF_HUB_OFFLINE is set; unset it, or download the file elsewhere and use --from")
    try:
        return ask()
    except errors.OfflineModeIsEnabled as error:
        raise Unreachable(f"{link}: huggingface_hub is in offline mode ({error})") from None
    except errors.GatedRepoError:
        raise Unreachable(
            f"{link} is gated: log in there, accept its terms, and set HF_TOKEN to a token that may read it"
        ) from None
    except errors.RepositoryNotFoundError:
        raise Unreachable(f"{link}: no such repository, or it is private and HF_TOKEN does not open it") from None
    except errors.RevisionNotFoundError:
        raise Unreachable(f"{link}: has no such branch, tag or commit") from None
    except errors.EntryNotFoundError:
        raise Unreachable(f"{link}: no such file") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        what = f"{link}: the Hub answers {status}"
        if status in LATER:
            after = error.response.headers.get("Retry-After", "")
            raise Interrupted(what, retry_after_s=retry_after(after)) from None
        raise Unreachable(what) from None
    except errors.FileMetadataError as error:
        raise Unreachable(f"{link}: {_first_line(error)}") from None
    except invalid_address():
        # Its text quotes what it took for a port: a password with a slash in it.
        raise Unreachable(f"{link}: the address of the Hub, or that of the proxy, is not valid") from None
    except _line_errors() as error:
        raise Interrupted(f"{link}: the connection was lost ({_first_line(error)})") from None


def invalid_address() -> type[Exception]:
    """Return the error of the HTTP client for an address that is none; it has no base class in common with others."""
    client = sys.modules[_line_errors().__module__.partition(".")[0]]
    found: type[Exception] = client.InvalidURL
    return found


def _line_errors() -> type[Exception]:
    """Return the base class of the HTTP client's errors: httpx or httpx2, by the release of huggingface_hub."""
    from huggingface_hub import errors

    base: type[Exception] = vars(errors)["HTTPError"]
    return base


def _first_line(error: Exception) -> str:
    return redacted((str(error).strip().splitlines() or [type(error).__name__])[0])
