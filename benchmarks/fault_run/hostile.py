"""Hostile servers, archives, images, shard folders and command lines, each from a seed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.fault_run.forks import Ended, command, digests, run_forked
from benchmarks.fault_run.tally import Fault, Tally

SHORT_S = 60.0

_EVIL_PATHS = ("../victim", "/tmp/faults-victim", "a/../../victim", ".uir/x", "C:\\x", "x" * 300, "a\x00b", "", ".", "é/\udce9")  # fmt: skip  # noqa: E501
_EVIL_VALUES = (None, -1, 2**70, 1e308, "x" * 5000, "\udce9", [], {}, True, "../../x", "/etc/passwd", "NaN", "[" * 3000)


def _fault(ended: Ended) -> Fault | None:
    return None if ended.how == "ok" else Fault(ended.how, ended.said)


# ------------------------------------------------------------------------------------------------------------- servers

SERVER = """
import gzip, random, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
data = open(sys.argv[1], "rb").read()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        try: self.answer()
        except OSError: pass
        self.close_connection = True
    def answer(self):
        rng = random.Random(self.path.split("/")[1])
        body, status, headers = data, rng.choice([200, 200, 200, 206, 206, 302, 404, 416, 429, 500, 503]), {}
        asked = self.headers.get("Range", "")
        start = int(asked[6:].split("-")[0] or 0) if asked.startswith("bytes=") and asked[6:7].isdigit() else 0
        trick = rng.choice("plain short lie gzip page loop file weak junk chunks retry slow changed 206lie".split())
        if status == 206: body, headers["Content-Range"] = data[start:], f"bytes {start}-{len(data) - 1}/{len(data)}"
        lies = ["bytes 0-5/9", "x", "bytes 9-1/5", f"bytes {10**30}-1/2"]
        if trick == "206lie": headers["Content-Range"] = rng.choice(lies)
        if trick == "changed": body = bytes(b ^ 1 for b in body)
        if trick == "gzip": body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        if trick == "page": body, headers["Content-Type"] = b"<!DOCTYPE html><html>quota</html>", "text/html"
        if trick == "weak": headers["ETag"] = 'W/"1"'
        if trick == "junk": headers.update({"ETag": '"' + "x" * 5000 + '"', "Last-Modified": "never"})
        if trick == "retry": headers["Retry-After"] = rng.choice(["9" * 20, "-1", "soon", "0"])
        if status == 302 or trick == "loop":
            places = [self.path, "file:///etc/passwd", "http://", "ftp://x/y", "//"]
            status, headers["Location"] = 302, rng.choice(places)
        if trick == "file": status, headers["Location"] = 301, "file:///etc/passwd"
        self.send_response(status)
        for name, value in headers.items(): self.send_header(name, value)
        if trick == "chunks":
            self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            trailers = b"0\\r\\n" + b"a: b\\r\\n" * 9
            self.wfile.write(rng.choice([b"zz\\r\\n", b"5\\r\\nabc", b"f" * 18 + b"\\r\\n", b"-1\\r\\n", trailers]))
            return
        length = len(body) + (rng.choice([-3, 5, 10**12]) if trick == "lie" else 0)
        if trick != "slow": self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if trick in ("short", "slow") else body)

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


def run_servers(base: Path, count: int, seed: int, tally: Tally) -> None:
    """Download one archive from servers that lie in many ways: what ends well has the right bytes."""
    base.mkdir(parents=True)
    files = {f"{role}/{n}.png": _png(n) for n in range(4) for role in ("lq", "gt")}
    with zipfile.ZipFile(base / "packed.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    script = base / "server.py"
    script.write_text(SERVER)
    process = subprocess.Popen(
        [sys.executable, str(script), str(base / "packed.zip")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    manifests = base / "manifests"
    manifests.mkdir()
    os.environ["UIR_MANIFESTS"] = str(manifests)
    try:
        for number in range(count):
            _write_source(manifests / "packed.toml", f"{url}/{seed}-{number}/packed.zip")
            root = base / "root"
            shutil.rmtree(root, ignore_errors=True)
            ended = run_forked(lambda root=root: _fetch_hurried(root), base / "log", limit_s=SHORT_S)
            fault = _fault(ended)
            here = digests(root / "sources/packed", "**/*.png") if root.exists() else {}
            if fault is None and ended.code == 0 and len(here) != len(files):
                fault = Fault("wrong bytes", f"done with {len(here)} of {len(files)} files")
            if fault is None and any((root / "sources/packed" / name).read_bytes() != files[name] for name in here):
                fault = Fault("wrong bytes", "a file differs")
            tally.add("server", fault, f"server {number} of seed {seed}")
    finally:
        process.kill()
        process.wait()


def _fetch_hurried(root: Path) -> None:
    import uirdata.storage.downloads
    from uirdata.pipeline.fetching import fetch as fetching

    pace = uirdata.storage.downloads.Pace

    def hurried(**more: Any) -> Any:
        return pace(**{"first_wait_s": 0.01, "longest_wait_s": 0.05, **more})

    fetching.Pace = hurried  # type: ignore[assignment, misc]
    command("uir", "fetch", "packed", "--root", root, "-q")()


def _write_source(path: Path, url: str) -> None:
    path.write_text(
        'title = "t"\nlicence = "CC0"\n[[files]]\nname = "packed.zip"\narchive = "zip"\n'
        f'mirrors = [{{ host = "http", where = "{url}", trust = "official" }}]\n[[pairs]]\nsplit = "train"\n'
        'degradation = "haze"\nreal = true\nlq = "**/lq/{n}.png"\ngt = "**/gt/{n}.png"\n'
    )


# ------------------------------------------------------------------------------------------------------------ archives


def run_archives(base: Path, count: int, seed: int, tally: Tally) -> None:
    """Unpack archives whose names, links, sizes and bytes were changed: nothing lands outside, no damage ends well."""
    base.mkdir(parents=True)
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind, data, sound = _archive(rng)
        path, out = base / f"x.{kind}", base / "out"
        path.write_bytes(data)
        shutil.rmtree(out, ignore_errors=True)
        ended = run_forked(
            lambda path=path, kind=kind, out=out: _unpack(path, "zip" if kind == "zip" else "tar", out),
            base / "log",
            limit_s=SHORT_S,
        )
        fault = _fault(ended)
        outside = [
            p.name for p in base.iterdir() if p.name not in (path.name, "out", "log", *(f"x.{k}" for k in _KINDS))
        ]
        if outside or Path("/tmp/faults-victim").exists():
            fault = Fault("touched outside", ", ".join(outside))
        if fault is None and ended.code == 0 and not sound:
            fault = Fault("wrong bytes", "damage was taken for a whole archive")
        path.unlink()
        tally.add("archive", fault, f"archive {number} of seed {seed}")


_KINDS = ("zip", "tar", "tar.gz")


def _unpack(path: Path, kind: str, out: Path) -> None:
    from uirdata.errors import UirError
    from uirdata.storage.archives import unpack

    try:
        unpack(kind, [path], out, "", out / ".uir/j.jsonl", archive_sha256="s")
    except UirError as error:
        print(error)
        raise SystemExit(1) from None


def _archive(rng: random.Random) -> tuple[str, bytes, bool]:
    """Return kind and bytes of an archive, and whether it is not damaged (it may hold hostile names)."""
    kind = rng.choice(_KINDS)
    names = [f"s/{n}.png" for n in range(6)]
    if rng.random() < 0.5:
        names[rng.randrange(6)] = rng.choice(_EVIL_PATHS).replace("\x00", "0") or "e"
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", rng.choice([0, 8])) as archive:
            for number, name in enumerate(names):
                archive.writestr(name.encode("utf-8", "replace").decode(), rng.randbytes(500 + number))
    else:
        with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape") as tar:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = 500 + number
                if rng.random() < 0.15:
                    info.type, info.size = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]), 0
                    info.linkname = rng.choice(["s/0.png", "/etc/passwd", "../../x", "nothing"])
                tar.addfile(info, io.BytesIO(rng.randbytes(info.size)))
    data = bytearray(buffer.getvalue() if kind != "tar.gz" else gzip.compress(buffer.getvalue(), 1))
    how = rng.choice(["whole", "cut", "flip", "hole"])
    if how == "cut":
        # A tar is padded: cutting its end mark alone loses nothing but the proof that it is whole.
        del data[rng.randrange(1, max(2, len(data) - 10_240 if kind == "tar" else len(data) - 30)) :]
    elif how == "flip" and kind == "tar.gz":
        data[rng.randrange(20, len(data) - 8)] ^= 1 << rng.randrange(8)
    elif how == "hole" and kind == "tar":
        at = 512 * rng.randrange(0, 6)
        data[at : at + 512] = bytes(512) if any(data[at : at + 512]) else b"x" * 512
    else:
        how = "whole"
    return kind, bytes(data), how == "whole"


# -------------------------------------------------------------------------------------------------------------- images


def run_images(base: Path, count: int, seed: int, tally: Tally) -> None:
    """Read mutated images through every reader: pixels or an ImageError, within memory and time."""
    base.mkdir(parents=True)
    begun = base / "begun"
    start = 0
    while start < count:
        stop = min(start + 100, count)
        ended = run_forked(
            lambda numbers=range(start, stop): _read_images(base, numbers, seed, begun), base / "log", limit_s=300
        )
        fault = _fault(ended)
        # A fault ends the child at its image; another child goes on behind it.
        last = stop - 1 if fault is None else int(begun.read_text())
        for number in range(start, last + 1):
            tally.add("image", fault if number == last else None, f"image {number} of seed {seed}")
        start = last + 1


def _read_images(base: Path, numbers: range, seed: int, begun: Path) -> None:
    import resource

    from maskdcpt.restoring.image_files import decode_image_file
    from uirdata.errors import ImageError
    from uirdata.images import decode_image, image_size, read_image

    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    for number in numbers:
        begun.write_text(str(number))
        rng = random.Random(f"{seed}-{number}")
        data = _mutated_image(rng)
        path = base / f"m{os.getpid()}.png"
        path.write_bytes(data)
        readers: tuple[Callable[[], Any], ...] = (
            lambda data=data: decode_image(data, name="m.png"),
            lambda path=path: image_size(path),
            lambda path=path: read_image(path),
            lambda data=data: decode_image_file(data, "m.png"),
        )
        for reader in readers:
            with suppress(ImageError):
                reader()
        path.unlink()


def _png(number: int) -> bytes:
    import zlib

    rng = random.Random(number)
    rows = b"".join(b"\0" + rng.randbytes(3 * 32) for _ in range(32))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _mutated_image(rng: random.Random) -> bytes:
    import numpy as np
    from PIL import Image

    mode = rng.choice(["RGB", "L", "RGBA", "P", "I;16", "CMYK", "1", "LA"])
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (37, 29, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    made = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    buffer = io.BytesIO()
    for kind in rng.sample(["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "GIF"], 7):
        try:
            more = {"exif": rng.randbytes(60)} if kind in ("JPEG", "PNG", "WEBP") and rng.random() < 0.3 else {}
            made.save(buffer, kind, **more)
            break
        except (OSError, ValueError, KeyError):
            buffer = io.BytesIO()
    data = bytearray(buffer.getvalue() or _png(1))
    for _ in range(rng.choice([0, 1, 1, 3, 10])):
        at = rng.randrange(min(len(data), rng.choice([40, 200, len(data)])))
        how = rng.random()
        if how < 0.5:
            data[at] = rng.randrange(256)
        elif how < 0.7:
            data[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", struct.pack("<I", 70000)])
        elif how < 0.85:
            del data[at:]
            data += b"" if data else b"x"
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 50))
    return bytes(data)


# -------------------------------------------------------------------------------------------------------------- shards


def run_shards(base: Path, count: int, seed: int, tally: Tally) -> None:
    """Open, count, build on, discard and push shard folders whose parts, rows, info.json and tars were changed."""
    base.mkdir(parents=True)
    whole = base / "whole"
    ended = run_forked(lambda: _tiny_shards(whole), base / "log")
    if ended.how != "ok":
        raise SystemExit(f"no shards to change: {ended.said}")
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        pool = base / "pool"
        shutil.rmtree(pool, ignore_errors=True)
        shutil.copytree(whole, pool)
        ended = run_forked(lambda rng=rng, pool=pool: _mutate_pool(pool, rng), base / "log")
        before = digests(base, "whole/**/*")
        verb: tuple[object, ...] = rng.choice(
            [
                ("stats", pool),
                ("build-shards", "--materialise", pool, "--out", base / "made"),
                ("push-hf", pool, "me/x", "--dry-run"),
                ("build-shards", "sample", "--out", pool, "--discard", "--root", base / "root", "--dry-run"),
            ]
        )
        shutil.rmtree(base / "made", ignore_errors=True)
        ended = run_forked(command("uir", *verb, "-q"), base / "log", limit_s=SHORT_S)
        fault = _fault(ended)
        if fault is None:
            ended = run_forked(lambda pool=pool: _read_all(pool), base / "log", limit_s=SHORT_S)
            fault = _fault(ended)
        known = {"whole", "pool", "made", "log", "root"}
        if digests(base, "whole/**/*") != before or {path.name for path in base.iterdir()} - known:
            fault = Fault("touched outside", "the folder beside the pool")
        tally.add("shard folder", fault, f"shard folder {number} of seed {seed}")


def _tiny_shards(whole: Path) -> None:
    from tests.maskdcpt.tiny import write_shards

    write_shards(whole, train=2, test=1)


def _read_all(pool: Path) -> None:
    import uirdata

    try:
        for item in uirdata.open_shards(pool):
            assert item.lq.shape == item.gt.shape
    except uirdata.UirError as error:
        print(error)
        raise SystemExit(1) from None


def _mutate_pool(pool: Path, rng: random.Random) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = rng.choice(sorted((pool / "manifest.parquet").glob("*.parquet")))
    how = rng.choice(["metadata", "column", "type", "bytes", "info", "tar", "name", "link"])
    table = pq.read_table(part)
    if how == "metadata":
        metadata = dict(table.schema.metadata or {})
        metadata[rng.choice(sorted(metadata))] = str(rng.choice([*_EVIL_VALUES, *_EVIL_PATHS])).encode(
            "utf-8", "replace"
        )
        pq.write_table(table.replace_schema_metadata(metadata), part)
    elif how in ("column", "type"):
        at = rng.randrange(table.num_columns)
        name, kind = table.column_names[at], table.schema.field(at).type
        if how == "type":
            values = pa.array([rng.choice([None, 1.5, 7])] * table.num_rows, pa.float64())
        elif pa.types.is_string(kind):
            value = str(rng.choice([*_EVIL_VALUES, *_EVIL_PATHS])).encode("utf-8", "replace").decode()
            values = pa.array([value] * table.num_rows)
        else:
            values = pa.array([rng.choice([-1, 2**62, 0])] * table.num_rows).cast(kind, safe=False)
        pq.write_table(table.set_column(at, name, values), part)
    elif how == "bytes":
        data = bytearray(part.read_bytes())
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        part.write_bytes(data)
    elif how == "info":
        value = rng.choice([*_EVIL_VALUES, *_EVIL_PATHS])
        text = json.dumps({rng.choice(["subsets", "codec", "shards", "seed", "crops"]): value})
        (pool / "info.json").write_text(rng.choice([text, "{", "[" * 50_000, "null", "\x00"]))
    elif how == "tar":
        tar = rng.choice(sorted(pool.rglob("*.tar")))
        data = bytearray(tar.read_bytes())
        data[rng.randrange(len(data))] ^= 255
        tar.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.5 else data)
    elif how == "name":
        part.rename(part.with_name(rng.choice(["x.parquet", "train-..-x-00000.parquet", "a" * 200 + ".parquet"])))
    else:
        tar = rng.choice(sorted(pool.rglob("*.tar")))
        tar.unlink()
        tar.symlink_to(pool.parent / "whole" / tar.relative_to(pool))


# ------------------------------------------------------------------------------------------------------------ commands


def run_commands(base: Path, count: int, seed: int, tally: Tally) -> None:
    """Call random commands with random options and values: a documented exit code, and one line of error at most."""
    base.mkdir(parents=True)
    os.environ.update(HF_HUB_OFFLINE="1", UIR_ROOT=str(base / "root"))
    os.environ.pop("UIR_MANIFESTS", None)
    (base / "photos").mkdir()
    (base / "photos/a.png").write_bytes(_png(1))
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        program, arguments = _command_line(rng, base)
        where = base / "cwd"
        where.mkdir(exist_ok=True)

        def work(program: str = program, arguments: list[str] = arguments, where: Path = where) -> None:
            os.chdir(where)
            # No network: what needs it fails at once.
            import socket

            def refuse(*_: object) -> None:
                raise ConnectionRefusedError(111, "Connection refused")

            socket.socket.connect = refuse  # type: ignore[method-assign, assignment]
            sys.stdin = io.StringIO("")
            command(program, *arguments)()

        ended = run_forked(work, base / "log", limit_s=SHORT_S)
        tally.add("command line", _fault(ended), f"{program} {' '.join(map(repr, arguments))}"[:300])


_LONG = ("demo", "reproduce", "bench")
"""Commands that work for minutes by their nature."""


def _command_line(rng: random.Random, base: Path) -> tuple[str, list[str]]:
    import click

    from cli.maskdcpt import program as learning
    from cli.uir import program as data

    name, program = rng.choice([("uir", data), ("maskdcpt", learning)])
    context = click.Context(program)
    verb = rng.choice([word for word in program.list_commands(context) if word not in _LONG])
    chosen = program.get_command(context, verb)
    assert chosen is not None
    values = [
        "",
        "0",
        "-1",
        "1e999",
        "nan",
        "x",
        "../x",
        "/dev/null",
        "a" * 5000,
        "\u202e",
        "[]",
        "5d",
        "sample",
        "wed",
    ]
    values += [
        "noise",
        "nafnet",
        str(base / "photos"),
        str(base / "none"),
        "hf://me/x",
        "s3://b/x",
        "ftp://x",
        "3/2",
        "1",
    ]
    arguments = [verb]
    for parameter in rng.sample(chosen.params, rng.randrange(0, min(6, len(chosen.params)) + 1)):
        if isinstance(parameter, click.Argument):
            arguments += rng.sample(values, rng.randrange(0, 3))
        elif isinstance(parameter, click.Option) and not {"--debug", "--check"} & set(parameter.opts):
            arguments.append(parameter.opts[0])
            if not parameter.is_flag:
                arguments += rng.sample(values, parameter.nargs if parameter.nargs > 0 else 1)
    if rng.random() < 0.1:
        arguments.append(rng.choice(["--no-such-option", "--", "-x"]))
    return name, arguments
