"""A small server that speaks as much of the Hub's interface as downloads need."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath

from tests.uirdata.servers import FileServer, Habits, send_bytes, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(
    repo: str,
    files: dict[str, bytes],
    *,
    gated: bool = False,
    revisions: tuple[str, ...] = (),
    habits: Habits | None = None,
) -> Iterator[FileServer]:
    """Serve one data set repository; its files come through a redirect, as the Hub's large files do."""
    with serving({}, habits) as server:

        def resolve(path: str) -> None:
            def answer(ask: BaseHTTPRequestHandler) -> None:
                if gated and ask.headers.get("Authorization") != "Bearer good":
                    send_bytes(
                        ask, b"", "text/plain", 401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted"
                    )
                    return
                sha = hashlib.sha256(files[path]).hexdigest()
                send_bytes(
                    ask,
                    b"",
                    "text/plain",
                    302,
                    # Another name, as that of the Hub's store: its library follows redirects to its own name.
                    Location=f"{server.url.replace('127.0.0.1', 'localhost')}/cdn/{sha}",
                    X_Repo_Commit=COMMIT,
                    X_Linked_Etag=f'"{sha}"',
                    X_Linked_Size=str(len(files[path])),
                )

            for revision in ("main", COMMIT, *revisions):
                server.routes[f"/datasets/{repo}/resolve/{revision}/{path}"] = answer

        def tree(ask: BaseHTTPRequestHandler) -> None:
            folder = re.sub(r".*/tree/main/?", "", ask.path.partition("?")[0])
            rows = [
                {
                    "type": "file",
                    "path": path,
                    "size": len(data),
                    "oid": "0" * 40,
                    "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100},
                }
                for path, data in files.items()
                if not folder or path.startswith(folder + "/")
            ]
            send_bytes(ask, json.dumps(rows).encode(), "application/json")

        folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
        for folder in (name.removeprefix(".") for name in folders):
            server.routes[f"/api/datasets/{repo}/tree/main" + (f"/{folder}" if folder else "")] = tree
        for path, data in files.items():
            resolve(path)
            server.files[f"/cdn/{hashlib.sha256(data).hexdigest()}"] = data
        yield server
