"""Files of the Hugging Face Hub: models, datasets and spaces, open or gated, from the Hub or a mirror of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from uirdata.errors import DownloadError
from uirdata.hosts.base import Listed
from uirdata.hosts.web import LATER, WebClient
from uirdata.transfer import Incoming, Interrupted, Reach, Unreachable

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
    `where` is "dataset:owner/name@revision:path"; a path that ends in "/", or none, is a folder.

    HF_TOKEN (or a login of `hf auth login`), HF_ENDPOINT and HF_HUB_OFFLINE are obeyed. What the Hub says of a file is
    asked for through huggingface_hub; its bytes come over plain HTTP, so that ranges and resuming are as everywhere.
    """

    connections = 4

    def __init__(self, client: WebClient, *, endpoint: str = "") -> None:
        self._client = client
        self._endpoint = endpoint
        self._known: dict[str, _Known] = {}

    def reach(self, where: str) -> Reach:
        """Say whether the Hub may be asked; whether a repository is gated is known only once it is."""
        if _offline():
            return Reach("by hand", "HF_HUB_OFFLINE is set; unset it, or fetch the file elsewhere and use --from")
        return Reach("automatic")

    def link(self, where: str) -> str:
        """Give the page of the repository."""
        place = _parsed(where)
        prefix = "" if place.repo_type == "model" else place.repo_type + "s/"
        return f"{self._base()}/{prefix}{place.repo}"

    def is_folder(self, where: str) -> bool:
        """Say whether the path ends in "/" or is empty."""
        return not (path := _parsed(where).path) or path.endswith("/")

    def open(self, where: str, *, start: int = 0, stop: int | None = None, validator: str = "") -> Incoming:
        """Open a file of a repository at one commit, so that what comes later cannot differ."""
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
            # The branch may have moved, and the commit may be gone with it.
            self._known.pop(where, None)
            raise
        digests = {"sha256": known.etag} if len(known.etag) == 64 else {}
        total = incoming.total if incoming.total is not None else known.size
        return replace(incoming, url=url, validator=known.etag, digests=digests, total=total)

    def files(self, where: str) -> tuple[Listed, ...]:
        """List a folder of a repository, without its hidden files."""
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
        Give the same place at the commit that it has now, so that files which are opened later are of one commit.

        Raises:
            Unreachable: there is no such file.
            Interrupted: try again later.
        """
        place = _parsed(where)
        commit = self._ask(where, place).commit
        return f"{place.repo_type}:{place.repo}@{commit}:{place.path}"

    def _base(self) -> str:
        # huggingface_hub reads HF_ENDPOINT once, at its import; we may be imported before it is set.
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
            told = _through_hub(
                self.link(where),
                lambda: get_hf_file_metadata(url, token=get_token(), timeout=30, endpoint=self._base()),
            )
            self._known[where] = _Known(told.commit_hash or "", told.etag or "", told.size)
        return self._known[where]


def _parsed(where: str) -> _Place:
    """
    Read `where`.

    >>> _parsed("dataset:snah/REDS@main:train_sharp.zip")
    _Place(repo_type='dataset', repo='snah/REDS', revision='main', path='train_sharp.zip')
    """
    repo_type, _, rest = where.partition(":")
    repo, _, path = rest.partition(":")
    repo, _, revision = repo.partition("@")
    if repo_type not in _TYPES or repo.count("/") != 1:
        raise Unreachable(f"{where!r} is no place on the Hub; expected dataset:owner/name@revision:path")
    return _Place(repo_type, repo, revision, path)


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _through_hub(link: str, ask: Any) -> Any:
    from huggingface_hub import errors

    if _offline():
        raise Unreachable(f"{link}: HF_HUB_OFFLINE is set; unset it, or fetch the file elsewhere and use --from")
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
        raise Unreachable(f"{link}: no such file there") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        what = f"{link}: the Hub answers {status}"
        if status in LATER:
            after = error.response.headers.get("Retry-After", "")
            raise Interrupted(what, retry_after_s=float(after) if after.isdigit() else None) from None
        raise Unreachable(what) from None
    except errors.FileMetadataError as error:
        raise Unreachable(f"{link}: {_first_line(error)}") from None
    except _line_errors() as error:
        raise Interrupted(f"{link}: the line dropped ({_first_line(error)})") from None


def _line_errors() -> type[Exception]:
    """Give the base of the HTTP client's errors; it is httpx or httpx2, by the Hub library's release."""
    from huggingface_hub import errors

    base: type[Exception] = vars(errors)["HTTPError"]
    return base


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
