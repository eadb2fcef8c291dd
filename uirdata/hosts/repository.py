"""
A data set repository on the Hugging Face Hub that is written to.

Large files go up first, and are in no revision yet; then one commit names them all. So a revision is what it was
before, or whole, and what went up before an interruption is not sent again.
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
from uirdata.transfer import Interrupted

T = TypeVar("T")

WAITS_S = (1.0, 4.0, 15.0, 60.0)
"""Between attempts of a request, after those that the Hub's own library makes."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
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
    A file on its way.

    Attributes:
        path: in the repository, with "/".
        content: a file of the disk, or the bytes themselves.
        sha256: what it has to have; "" where nobody says.
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
    """Somebody else committed to the branch meanwhile."""


@dataclass
class Repository:
    """
    One data set repository.

    Attributes:
        name: owner/name.
        branch: that is written to.
        token: of the user; None takes HF_TOKEN, or the login of `hf auth login`. It is in no message.
        endpoint: of the Hub; "" takes HF_ENDPOINT, else huggingface.co.
        waits_s: see `WAITS_S`.
    """

    name: str
    branch: str = "main"
    token: str | None = field(default=None, repr=False)
    endpoint: str = ""
    waits_s: Sequence[float] = WAITS_S

    def __post_init__(self) -> None:
        """Make the client; nothing is asked yet."""
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils.tqdm import disable_progress_bars

        # Progress is the caller's; bars of the library would be drawn through it.
        disable_progress_bars()
        self.endpoint = (self.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token = self.token or get_token()
        self._api = HfApi(endpoint=self.endpoint, token=self.token or False)
        self._staged: dict[str, Any] = {}
        self._was_reached = False
        self._user = ""

    @property
    def link(self) -> str:
        """Give its page."""
        return f"{self.endpoint}/datasets/{self.name}"

    def user(self) -> str:
        """
        Say whose token it is.

        Raises:
            PublishError: there is none, or the Hub does not know it.
        """
        if not self.token:
            raise PublishError(
                f"{self.link}: no token. Log in with `hf auth login`, or set HF_TOKEN to one that may write"
            )
        # The Hub allows few of these questions an hour.
        if not self._user:
            self._user = str(self._ask(self._api.whoami)["name"])
        return self._user

    def create(self, *, private: bool) -> None:
        """
        Make the repository, and the branch, where they are not there.

        Raises:
            PublishError: the token may not.
            Interrupted: try again later.
        """
        self._ask(lambda: self._api.create_repo(self.name, repo_type="dataset", private=private, exist_ok=True))
        if self.branch != "main":
            self._ask(
                lambda: self._api.create_branch(self.name, repo_type="dataset", branch=self.branch, exist_ok=True)
            )

    def read(self) -> Revision | None:
        """
        Give the branch's commit and files; None where there is no such repository or branch.

        Raises:
            PublishError: it may not be read.
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
        Bring large files to the Hub, and keep small ones for the commit. No revision changes.

        Returns:
            The paths of files that are read again by the commit; the others are not needed here any more.

        Raises:
            PublishError: a file is not what it should be, or the Hub refuses it.
            Interrupted: try again later; what went up stays there.
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
                    "it was built. Nothing was published; delete it, and `uir build-shards` makes it again"
                )
        # The library lets go of what it has brought there.
        return {operation.path_in_repo for operation in operations if operation.path_or_fileobj != b""}

    def commit(self, message: str, *, parent: str, delete: Sequence[str] = ()) -> str:
        """
        Make one revision of all that was sent.

        Args:
            message: of the commit.
            parent: the commit that it has to follow.
            delete: files to take away in the same commit.

        Returns:
            The new commit, or `parent` where nothing changed.

        Raises:
            MovedOn: the branch is not at `parent` any more.
            PublishError: the Hub refuses.
            Interrupted: try again later. The commit may have been made all the same.
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
            # Asked again by the caller, who can see whether it was made.
            waits_s=(),
        )
        self._staged.clear()
        return str(made.oid)

    def wait(self, attempt: int, error: Interrupted) -> None:
        """
        Wait before the next attempt, as long as the Hub asks for, or longer each time.

        Raises:
            Interrupted: the Hub asks for more than a quarter of an hour.
        """
        self._wait(error, self.waits_s[min(attempt, len(self.waits_s) - 1)])

    def _ask(self, ask: Callable[[], T], waits_s: Sequence[float] | None = None) -> T:
        waits = list(self.waits_s if waits_s is None else waits_s)
        while True:
            try:
                return self._once(ask)
            except Interrupted as error:
                # Who has not answered once is more likely not there than busy.
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
            raise PublishError(f"{self.link}: no such repository, or this token may not see it") from error
        except errors.RevisionNotFoundError as error:
            raise PublishError(f"{self.link}: has no branch {self.branch}") from error
        except errors.HfHubHTTPError as error:
            raise self._sorted(error) from error
        except RuntimeError as error:
            # So the library wraps whatever goes wrong with a file.
            cause = error.__cause__ or error
            if isinstance(cause, errors.HfHubHTTPError):
                raise self._sorted(cause) from error
            if isinstance(cause, (_line_error(), ConnectionError, TimeoutError)):
                raise Interrupted(f"{self.link}: the line dropped ({self._first_line(cause)})") from error
            raise PublishError(f"{self.link}: {self._first_line(error)} {self._first_line(cause)}") from error
        except _line_error() as error:
            raise Interrupted(
                f"{self.link}: cannot be reached, or the line dropped ({self._first_line(error)})"
            ) from error
        except (ConnectionError, TimeoutError) as error:
            raise Interrupted(f"{self.link}: the line dropped ({self._first_line(error)})") from error
        except (OSError, ValueError) as error:
            raise PublishError(f"{self.link}: {self._first_line(error)}") from error

    def _sorted(self, error: Any) -> PublishError | Interrupted:
        self._was_reached = True
        status = error.response.status_code
        said = self._first_line(Exception(getattr(error, "server_message", None) or str(error)))
        if status in _LATER:
            after = error.response.headers.get("Retry-After", "")
            return Interrupted(
                f"{self.link}: the Hub answers {status}", retry_after_s=float(after) if after.isdigit() else None
            )
        if status == 401:
            return PublishError(
                f"{self.link}: the Hub does not accept the token; log in with `hf auth login`, or set HF_TOKEN"
            )
        if status == 403:
            return PublishError(
                f"{self.link}: this token may not write there ({said}). Push to a name of your own, or use a token "
                "with the right to write"
            )
        if status in (409, 412):
            return MovedOn(f"{self.link}: somebody else committed to {self.branch} meanwhile; run the command again")
        return PublishError(f"{self.link}: the Hub answers {status}: {said}")

    def _first_line(self, error: BaseException) -> str:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return line.replace(self.token, "***") if self.token else line


def _line_error() -> type[Exception]:
    """Give the base of the HTTP client's errors; it is httpx or httpx2, by the Hub library's release."""
    from huggingface_hub import errors

    base: type[Exception] = vars(errors)["HTTPError"]
    return base
