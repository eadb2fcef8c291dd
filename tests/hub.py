"""
A Hub on 127.0.0.1 with the endpoints that huggingface_hub calls: create, preupload, LFS, commit, tree, resolve.

Tests with it show that the client's code runs, and in which order, and how it handles errors; they do not show that the
real Hub behaves the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

WRITER, READER, STRANGER = "hf_writer_secret", "hf_reader_secret", "hf_stranger_secret"
"""Tokens: of `me`, who may write to me/..., of a user who may only read, and of a user who accepted no terms."""


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data, usedforsecurity=False).hexdigest()


Tree = dict[str, Blob]


@dataclass
class Repo:
    """A data set repository: its commits, oldest first, and the commit of each branch."""

    private: bool
    gated: bool = False
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, tree: Tree, message: str) -> str:
        text = f"{len(self.commits)} {message} {sorted((path, blob.oid) for path, blob in tree.items())}"
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = tree
        self.branches[branch] = oid
        self.messages.append(message)
        return oid


@dataclass
class Trouble:
    """
    An error for requests of one kind.

    Attributes:
        kind: kind of request, as in the log.
        status: status of the response, such as 503.
        times: number of requests that fail.
        retry_after: value of the Retry-After header.
        drop: close the connection after the body was read, and for commits after the commit was made.
    """

    kind: str
    status: int = 0
    times: int = 1
    retry_after: str = ""
    drop: bool = False


class Hub:
    """The server, its repositories, and a log of the requests: kind and path."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.store: dict[str, bytes] = {}
        self.log: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.cut_after = 0
        self.troubles: list[Trouble] = []
        self.uploads_allowed = 10**9
        self.upload_takes_s = 0.0
        self._lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                outer._serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, kind: str) -> int:
        """Return the number of requests of a kind."""
        return sum(name == kind for name, _ in self.log)

    def tree(self, repo: str, revision: str = "main") -> Tree:
        """Return the files of a revision."""
        held = self.repos[repo]
        return held.commits[held.branches.get(revision, revision)]

    def add(self, repo: str, files: dict[str, bytes], *, gated: bool = False, branches: tuple[str, ...] = ()) -> str:
        """Publish a repository of another user, with all files as large files; return its commit."""
        held = self.repos[repo] = Repo(private=False, gated=gated)
        oid = held.commit("main", {path: self._large(data) for path, data in files.items()}, "all")
        held.branches |= dict.fromkeys(branches, oid)
        return oid

    def _large(self, data: bytes) -> Blob:
        blob = Blob(data, lfs=True)
        self.store[blob.sha256] = data
        return blob

    def change(self, repo: str, path: str, data: bytes | None) -> None:
        """Commit to main as another user: new bytes of a file, or None to delete it."""
        with self._lock:
            tree = dict(self.tree(repo))
            if data is None:
                del tree[path]
            else:
                tree[path] = self._large(data) if path in tree and tree[path].lfs else Blob(data, lfs=False)
            self.repos[repo].commit("main", tree, "by hand")

    def _serve(self, ask: BaseHTTPRequestHandler) -> None:
        body = ask.rfile.read(int(ask.headers.get("Content-Length") or 0))
        if ask.headers.get("Transfer-Encoding") == "chunked":
            body = _chunked(ask)
        path, _, query = ask.path.partition("?")
        if ask.command == "PUT":
            time.sleep(self.upload_takes_s)
        found = [
            (kind, match)
            for method, pattern, kind in _ROUTES
            if ask.command in method.split("|") and (match := re.fullmatch(pattern, path))
        ]
        if not found:
            return _send(ask, 404, {"error": f"no route {ask.command} {path}"})
        kind, match = found[0]
        with self._lock:
            self.log.append((kind, path))
            self.headers.append(dict(ask.headers))
            trouble = next((t for t in self.troubles if t.kind == kind and t.times), None)
            if trouble is not None:
                trouble.times -= 1
            if kind == "upload" and not trouble:
                self.uploads_allowed -= 1
                if self.uploads_allowed < 0:
                    trouble = Trouble("upload", status=400)
            if trouble is not None and trouble.status:
                headers = {"Retry-After": trouble.retry_after} if trouble.retry_after else {}
                return _send(ask, trouble.status, {"error": "trouble"}, **headers)
            if trouble is not None and trouble.drop and kind != "commit":
                return _hang_up(ask)
            words = {name: unquote(value) for name, value in match.groupdict(default="").items()}
            answer = getattr(self, f"_{kind}")(ask, words, query, body)
            if trouble is not None and trouble.drop:
                return _hang_up(ask)
        if answer is None:
            return None
        return _send(ask, *answer[:2], **(answer[2] if len(answer) > 2 else {}))

    def _user(self, ask: BaseHTTPRequestHandler) -> str:
        token = ask.headers.get("Authorization", "").removeprefix("Bearer ")
        return {WRITER: "me", READER: "reader", STRANGER: "stranger"}.get(token, "")

    def _refused(self, ask: BaseHTTPRequestHandler, repo: str, *, write: bool = False) -> Any:
        user = self._user(ask)
        if write and not user:
            return 401, {"error": "Invalid username or password."}
        held = self.repos.get(repo)
        if held is None or (held.private and not user):
            return 404 if user else 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        if held.gated and user in ("", "stranger"):
            said = "Access to this dataset is restricted"
            return 403 if user else 401, {"error": said}, {"X-Error-Code": "GatedRepo"}
        if write and not (user == "me" and repo.startswith("me/")):
            return 403, {"error": "You don't have the rights to write here"}
        return None

    def _at(self, repo: str, revision: str) -> tuple[str, Tree] | None:
        held = self.repos[repo]
        oid = held.branches.get(revision, revision)
        return (oid, held.commits[oid]) if oid in held.commits else None

    def _whoami(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        user = self._user(ask)
        if not user:
            return 401, {"error": "Invalid username or password."}
        return 200, {"name": user, "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def _create(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        asked = json.loads(body)
        user = self._user(ask)
        if not user:
            return 401, {"error": "Invalid username or password."}
        owner = asked.get("organization") or user
        repo = f"{owner}/{asked['name']}"
        if owner != "me" or user != "me":
            return 403, {"error": f"You don't have the rights to create a dataset under the namespace {owner}"}
        url = f"{self.url}/datasets/{repo}"
        if repo in self.repos:
            return 409, {"error": "You already created this dataset repo", "url": url}
        self.repos[repo] = Repo(bool(asked.get("private")) or asked.get("visibility") == "private")
        first = Blob(b"*.tar filter=lfs\n*.parquet filter=lfs\n", False)
        self.repos[repo].commit("main", {".gitattributes": first}, "initial commit")
        return 200, {"url": url, "name": repo, "id": repo}

    def _delete(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        asked = json.loads(body)
        self.repos.pop(f"{asked.get('organization') or 'me'}/{asked['name']}", None)
        return 200, {}

    def _branch(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"], write=True):
            return refused
        repo = self.repos[words["repo"]]
        repo.branches[words["rev"]] = repo.branches["main"]
        return 200, {}

    def _validate(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        return 200, {"errors": [], "warnings": []}

    def _preupload(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"], write=True):
            return refused
        found = self._at(words["repo"], words["rev"])
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        files = []
        for file in json.loads(body)["files"]:
            lfs = file["path"].endswith((".tar", ".parquet", ".safetensors")) or file["size"] > 10_000_000
            before = found[1].get(file["path"])
            oid = None if before is None else before.sha256 if before.lfs else before.oid
            files.append(
                {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid}
            )
        return 200, {"files": files, "commitOid": found[0]}

    def _batch(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"], write=True):
            return refused
        objects = []
        for wanted in json.loads(body)["objects"]:
            actions = {
                "upload": {"href": f"{self.url}/lfs/{wanted['oid']}"},
                "verify": {"href": f"{self.url}/lfs-verify"},
            }
            objects.append({**wanted, **({} if wanted["oid"] in self.store else {"actions": actions})})
        return 200, {"transfer": "basic", "objects": objects}

    def _upload(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        assert "Authorization" not in ask.headers, "the store must not see the token"
        self.store[words["sha"]] = body
        return 200, {}

    def _lfs_verify(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        asked = json.loads(body)
        data = self.store.get(asked["oid"], b"")
        right = hashlib.sha256(data).hexdigest() == asked["oid"] and len(data) == asked["size"]
        return (200, {}) if right else (422, {"error": "the bytes are others"})

    def _commit(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"], write=True):
            return refused
        found = self._at(words["repo"], words["rev"])
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        tree, message = dict(found[1]), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", found[0]) != found[0]:
                    return 412, {"error": "A commit has happened since. Please refresh and try again."}
            elif item["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.store:
                    return 400, {"error": f"LFS pointer to a file that was never uploaded: {value['path']}"}
                tree[value["path"]] = Blob(self.store[value["oid"]], True)
            elif item["key"] == "deletedFile":
                del tree[value["path"]]
        oid = self.repos[words["repo"]].commit(words["rev"], tree, message)
        return 200, {"commitOid": oid, "commitUrl": f"{self.url}/datasets/{words['repo']}/commit/{oid}"}

    def _info(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"]):
            return refused
        found = self._at(words["repo"], words["rev"] or "main")
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        siblings = [{"rfilename": path} for path in found[1]]
        private = self.repos[words["repo"]].private
        return 200, {"id": words["repo"], "sha": found[0], "private": private, "siblings": siblings, "tags": []}

    def _refs(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"]):
            return refused
        rows = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid}
            for name, oid in self.repos[words["repo"]].branches.items()
        ]
        return 200, {"branches": rows, "converts": [], "tags": []}

    def _tree(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"]):
            return refused
        found = self._at(words["repo"], words["rev"])
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        rows = _rows(found[1], words["path"].strip("/"), recursive="recursive=true" in query.lower())
        if words["path"].strip("/") and not rows:
            return 404, {"error": "no such folder"}, {"X-Error-Code": "EntryNotFound"}
        return 200, rows

    def _paths(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"]):
            return refused
        found = self._at(words["repo"], words["rev"])
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        text = body.decode()
        asked = json.loads(text)["paths"] if text.startswith("{") else re.findall(r"paths=([^&]*)", text)
        rows = {row["path"]: row for row in _rows(found[1], "", recursive=True)}
        return 200, [rows[path] for path in map(unquote, asked) if path in rows]

    def _resolve(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        if refused := self._refused(ask, words["repo"]):
            return refused
        found = self._at(words["repo"], words["rev"])
        if found is None:
            return 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"}
        blob = found[1].get(words["path"])
        if blob is None:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found[0]}
        tag = f'"{blob.sha256 if blob.lfs else blob.oid}"'
        headers = {"X-Repo-Commit": found[0], "ETag": tag, "Accept-Ranges": "bytes"}
        if not blob.lfs:
            return _ranged(ask, blob.data, headers)
        # Another host name, as that of the Hub's storage: huggingface_hub follows redirects to the same host by itself.
        store = f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{blob.sha256}"
        linked = {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": tag, "Location": store}
        return 302, b"", headers | linked

    def _cdn(self, ask: BaseHTTPRequestHandler, words: dict[str, str], query: str, body: bytes) -> Any:
        assert "Authorization" not in ask.headers, "the store must not see the token"
        status, data, headers = _ranged(ask, self.store[words["sha"]], {"ETag": f'"{words["sha"]}"'})
        if self.cut_after and len(data) > self.cut_after:
            _send(ask, status, data[: self.cut_after], length=len(data), **headers)
            return _hang_up(ask)
        return status, data, headers


def _ranged(ask: BaseHTTPRequestHandler, data: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", ask.headers.get("Range", ""))
    if match is None:
        return 200, data, headers
    stop = min(len(data), int(match[2]) + 1) if match[2] else len(data)
    return 206, data[int(match[1]) : stop], {**headers, "Content-Range": f"bytes {match[1]}-{stop - 1}/{len(data)}"}


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_KIND = "(?:datasets|models)"
_REV = r"(?P<rev>[^/]+)"
_ROUTES = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("DELETE", r"/api/repos/delete", "delete"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", rf"/api/{_KIND}/{_REPO}/preupload/{_REV}", "preupload"),
    ("POST", rf"(?:/datasets)?/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<sha>[0-9a-f]{64})", "upload"),
    ("POST", r"/lfs-verify", "lfs_verify"),
    ("POST", rf"/api/{_KIND}/{_REPO}/commit/{_REV}", "commit"),
    ("POST", rf"/api/{_KIND}/{_REPO}/branch/{_REV}", "branch"),
    ("GET", rf"/api/{_KIND}/{_REPO}/refs", "refs"),
    ("GET", rf"/api/{_KIND}/{_REPO}/tree/{_REV}(?P<path>/.*)?", "tree"),
    ("POST", rf"/api/{_KIND}/{_REPO}/paths-info/{_REV}", "paths"),
    ("GET", rf"/api/{_KIND}/{_REPO}(/revision/{_REV})?", "info"),
    ("GET|HEAD", rf"(?:/datasets)?/{_REPO}/resolve/{_REV}/(?P<path>.+)", "resolve"),
    ("GET|HEAD", r"/cdn/(?P<sha>[0-9a-f]{64})", "cdn"),
)


def _rows(tree: Tree, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    prefix = folder + "/" if folder else ""
    for path, blob in sorted(tree.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            name = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                rows[name] = {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        if recursive or len(parts) == 1:
            row = {"type": "file", "path": path, "size": len(blob.data), "oid": blob.oid}
            lfs = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
            rows[path] = {**row, **({"lfs": lfs} if blob.lfs else {})}
    return list(rows.values())


def _send(ask: BaseHTTPRequestHandler, status: int, body: Any, length: int | None = None, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    ask.send_response(status)
    if status >= 400 and isinstance(body, dict) and "error" in body:
        ask.send_header("X-Error-Message", body["error"])
    ask.send_header("Content-Type", kind)
    ask.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        ask.send_header(name, value)
    ask.end_headers()
    if ask.command != "HEAD":
        ask.wfile.write(data)


def _hang_up(ask: BaseHTTPRequestHandler) -> None:
    ask.close_connection = True
    ask.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ask.connection.close()


def _chunked(ask: BaseHTTPRequestHandler) -> bytes:
    found = b""
    while size := int(ask.rfile.readline().strip() or b"0", 16):
        found += ask.rfile.read(size)
        ask.rfile.readline()
    ask.rfile.readline()
    return found


@contextmanager
def hub() -> Iterator[Hub]:
    """Run a Hub while the block runs."""
    server = Hub()
    try:
        yield server
    finally:
        server.close()
