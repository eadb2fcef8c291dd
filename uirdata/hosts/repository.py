"""
A data set repository on the Hugging Face Hub, for writing.

Large files are uploaded first, and belong to no revision yet; then one commit names them all. So a revision is either
unchanged or complete, and files uploaded before an interruption are not sent again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from uirdata.errors import PublishError, UsageError
from uirdata.hosts.huggingface import invalid_address
from uirdata.hosts.web import retry_after
from uirdata.transfer import Interrupted, redacted

T = TypeVar("T")

WAITS_S = (1.0, 4.0, 15.0, 60.0)
"""Seconds between attempts of a request, after the attempts of huggingface_hub itself."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_LATER = (408, 429, 500, 502, 503, 504)
_LONGEST_RETRY_AFTER_S = 900.0
_TRIES_TO_REACH = 2


def repository_name(text: str) -> str:
    """
    Return owner/name of a data set repository, which may be written hf://datasets/owner/name.

    >>> repository_name("hf://datasets/me/mine")
    'me/mine'

    Raises:
        UsageError: it is no name of a repository.
    """
    name = text.removeprefix("hf://datasets/")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{text!r} is no repository; write it like owner/name")
    return name


@dataclass(frozen=True)
class Upload:
    """
    A file to upload.

    Attributes:
        path: path in the repository, with "/".
        content: a file on the disk, or the bytes themselves.
        sha256: expected hash; "" if unknown.
    """

    path: str
    content: Path | bytes
    sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """
    A file of a revision.

    Attributes:
        size: bytes.
        sha256: of a large file; "" for others.
        blob: git's own hash: of the bytes for a small file, of a pointer for a large one.
    """

    size: int
    sha256: str
    blob: str


@dataclass(frozen=True)
class Revision:
    """A commit and its files by path."""

    commit: str
    entries: Mapping[str, Entry]


class MovedOn(PublishError):
    """Another commit was made on the branch in the meantime."""


@dataclass
class Repository:
    """
    One data set repository.

    Attributes:
        name: owner/name.
        branch: the branch to write to.
        token: of the user; None takes HF_TOKEN, or the login of `hf auth login`. It appears in no message.
        endpoint: of the Hub; "" takes HF_ENDPOINT, else huggingface.co.
        waits_s: see `WAITS_S`.
    """

    name: str
    branch: str = "main"
    token: str | None = field(default=None, repr=False)
    endpoint: str = ""
    waits_s: Sequence[float] = WAITS_S

    def __post_init__(self) -> None:
        """Create the client; no request is sent yet."""
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils.tqdm import disable_progress_bars

        # The caller shows progress; the library's bars would be mixed with it.
        disable_progress_bars()
        self.endpoint = (self.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token = _checked_token(self.token) or get_token()
        self._api = HfApi(endpoint=self.endpoint, token=self.token or False)
        self._staged: dict[str, Any] = {}
        self._was_reached = False
        self._user = ""

    @property
    def link(self) -> str:
        """The address of its page."""
        return f"{redacted(self.endpoint)}/datasets/{self.name}"

    def user(self) -> str:
        """
        Return the user name of the token.

        Raises:
            PublishError: there is no token, or the Hub does not accept it.
        """
        if not self.token:
            raise PublishError(
                f"{self.link}: no token. Log in with `hf auth login`, or set HF_TOKEN to a token with write permission"
            )
        # The Hub allows few of these questions an hour.
        if not self._user:
            self._user = str(self._ask(self._api.whoami)["name"])
        return self._user

    def create(self, *, private: bool) -> None:
        """
        Create the repository and the branch, if they do not exist.

        Raises:
            PublishError: the token lacks the permission.
            Interrupted: try again later.
        """
        self._ask(lambda: self._api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True))
        if self.branch != "main":
            self._ask(
                lambda: self._api.create_branch(self.name, repo_type="dataset", branch=self.branch, exist_ok=True)
            )

    def read(self) -> Revision | None:
        """
        Return the branch's commit and files; None if there is no such repository or branch.

        Raises:
            PublishError: the token lacks the permission to read it.
            Interrupted: try again later.
        """
        from huggingface_hub import errors
        from huggingface_hub.hf_api import RepoFile

        try:
            info = self._ask(lambda: self._api.repo_info(self.name, repo_type="dataset", revision=self.branch))
            rows = self._ask(
                lambda: list(
                    self._api.list_repo_tree(self.name, recursive=True, revision=info.sha, repo_type="dataset")
                )
            )
        except PublishError as error:
            if isinstance(error.__cause__, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):
                return None
            raise
        entries = {
            row.path: Entry(row.size, row.lfs.sha256 if row.lfs else "", row.blob_id)
            for row in rows
            if isinstance(row, RepoFile)
        }
        return Revision(str(info.sha), entries)

    def send(self, uploads: Iterable[Upload]) -> set[str]:
        """
        Upload large files, and keep small ones for the commit. No revision changes.

        Returns:
            The paths of files that the commit reads again; the others are not needed on the disk any more.

        Raises:
            PublishError: a file does not match its hash, or the Hub refuses it.
            Interrupted: try again later; uploaded files stay there.
        """
        from huggingface_hub import CommitOperationAdd

        batch = list(uploads)
        for upload in batch:
            if upload.path not in self._staged:
                content = str(upload.content) if isinstance(upload.content, Path) else upload.content
                self._staged[upload.path] = CommitOperationAdd(upload.path, content)
        operations = [self._staged[upload.path] for upload in batch]
        self._ask(
            lambda: self._api.preupload_lfs_files(
                self.name, operations, repo_type="dataset", revision=self.branch, free_memory=True
            )
        )
        for upload, operation in zip(batch, operations, strict=True):
            found = operation.upload_info.sha256.hex()
            if upload.sha256 and found != upload.sha256:
                raise PublishError(
                    f"{upload.path}: its sha256 is {found}, the manifest says {upload.sha256}: it was changed since "
                    "it was built. Nothing was published; delete it and run `uir build-shards` to build it again"
                )
        # The library frees the content of the files that it has uploaded.
        return {operation.path_in_repo for operation in operations if operation.path_or_fileobj != b""}

    def commit(self, message: str, *, parent: str, delete: Sequence[str] = ()) -> str:
        """
        Make one revision of all uploaded files.

        Args:
            message: commit message.
            parent: the commit that it must follow.
            delete: files to delete in the same commit.

        Returns:
            The new commit, or `parent` if nothing changed.

        Raises:
            MovedOn: the branch is not at `parent` any more.
            PublishError: the Hub refuses.
            Interrupted: try again later. The commit may have been made nevertheless.
        """
        from huggingface_hub import CommitOperationDelete

        operations = [*self._staged.values(), *(CommitOperationDelete(path) for path in delete)]
        made = self._ask(
            lambda: self._api.create_commit(
                self.name,
                operations,
                commit_message=message,
                repo_type="dataset",
                revision=self.branch,
                parent_commit=parent,
            ),
            # The caller tries again, since only it can see whether the commit was made.
            waits_s=(),
        )
        self._staged.clear()
        return str(made.oid)

    def wait(self, attempt: int, error: Interrupted) -> None:
        """
        Wait before the next attempt, as long as the Hub requests, or longer each time.

        Raises:
            Interrupted: the Hub requests more than a quarter of an hour.
        """
        self._wait(error, self.waits_s[min(attempt, len(self.waits_s) - 1)])

    def _ask(self, ask: Callable[[], T], waits_s: Sequence[float] | None = None) -> T:
        waits = list(self.waits_s if waits_s is None else waits_s)
        while True:
            try:
                return self._once(ask)
            except Interrupted as error:
                # A server that has never answered is more likely unreachable than busy.
                if not waits or (not self._was_reached and len(self.waits_s) - len(waits) >= _TRIES_TO_REACH):
                    raise
                self._wait(error, waits.pop(0))

    def _wait(self, error: Interrupted, wait_s: float) -> None:
        asked_s = error.retry_after_s
        if asked_s is not None and asked_s > _LONGEST_RETRY_AFTER_S:
            raise error
        time.sleep(wait_s if asked_s is None else asked_s)

    def _once(self, ask: Callable[[], T]) -> T:
        from huggingface_hub import errors

        try:
            answer = ask()
            self._was_reached = True
            return answer
        except errors.OfflineModeIsEnabled as error:
            raise PublishError(f"{self.link}: HF_HUB_OFFLINE is set; unset it to publish") from error
        except errors.RepositoryNotFoundError as error:
            raise PublishError(f"{self.link}: no such repository, or the token has no access to it") from error
        except errors.RevisionNotFoundError as error:
            raise PublishError(f"{self.link}: has no branch {self.branch}") from error
        except errors.HfHubHTTPError as error:
            raise self._sorted(error) from error
        except RuntimeError as error:
            # The library wraps every error about a file in this one.
            cause = error.__cause__ or error
            if isinstance(cause, errors.HfHubHTTPError):
                raise self._sorted(cause) from error
            if isinstance(cause, (_line_error(), ConnectionError, TimeoutError)):
                raise Interrupted(f"{self.link}: the connection was lost ({self._first_line(cause)})") from error
            raise PublishError(f"{self.link}: {self._first_line(error)} {self._first_line(cause)}") from error
        except invalid_address():
            raise PublishError(f"{self.link}: the address of the Hub, or that of the proxy, is not valid") from None
        except _line_error() as error:
            raise Interrupted(
                f"{self.link}: cannot be reached, or the connection was lost ({self._first_line(error)})"
            ) from error
        except (ConnectionError, TimeoutError) as error:
            raise Interrupted(f"{self.link}: the connection was lost ({self._first_line(error)})") from error
        except (OSError, ValueError) as error:
            raise PublishError(f"{self.link}: {self._first_line(error)}") from error

    def _sorted(self, error: Any) -> PublishError | Interrupted:
        self._was_reached = True
        status = error.response.status_code
        answer = self._first_line(Exception(getattr(error, "server_message", None) or str(error)))
        if status in _LATER:
            after = error.response.headers.get("Retry-After", "")
            return Interrupted(f"{self.link}: the Hub answers {status}", retry_after_s=retry_after(after))
        if status == 401:
            return PublishError(
                f"{self.link}: the Hub does not accept the token; log in with `hf auth login`, or set HF_TOKEN"
            )
        if status == 403:
            return PublishError(
                f"{self.link}: the token has no write permission ({answer}). Push to your own account, or use a token "
                "with write permission"
            )
        if status in (409, 412):
            return MovedOn(f"{self.link}: another commit was made to {self.branch}; run the command again")
        return PublishError(f"{self.link}: the Hub answers {status}: {answer}")

    def _first_line(self, error: BaseException) -> str:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return redacted(line.replace(self.token, "***") if self.token else line)


def _checked_token(token: str | None) -> str | None:
    """Return a token without the line end that a file or a paste adds; no message shows a token."""
    token = (token or "").strip()
    if token and not _TOKEN.fullmatch(token):
        raise UsageError(
            "the token has a space, a line break or another character in it that no token has; copy it again, the "
            "whole of it and nothing else"
        )
    return token or None


def _line_error() -> type[Exception]:
    """Return the base class of the HTTP client's errors: httpx or httpx2, by the release of huggingface_hub."""
    from huggingface_hub import errors

    base: type[Exception] = vars(errors)["HTTPError"]
    return base
