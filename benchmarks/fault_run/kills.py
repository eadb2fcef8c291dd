"""Commands that are killed at random moments, half of them with the bytes lost that were not on the disk yet."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fault_run.forks import Ended, command, digests, lose_unsynced, run_forked
from benchmarks.fault_run.tally import Fault, Tally

PACKED = """
title = "a packed source"
licence = "CC0"
redistributable = true
[[files]]
name = "packed.zip"
archive = "zip"
mirrors = [{{ host = "http", where = "{url}/packed.zip", trust = "official" }}]
[[pairs]]
split = "train"
degradation = "haze"
real = true
lq = "**/lq/{{n}}.png"
gt = "**/gt/{{n}}.png"
"""


@dataclass(frozen=True)
class Scene:
    """
    A command, what it starts from, and what it has to give.

    Attributes:
        name: for the table.
        prepare: makes the state that it starts from, in a new folder.
        work: returns the command for such a folder.
        results: returns digests of what it has made.
        again: returns the command that goes on after a kill, if it is another one.
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path], Callable[[], Any]]
    results: Callable[[Path], Mapping[str, str]]
    again: Callable[[Path], Callable[[], Any]] | None = None


def run_kills(base: Path, kills: int, seed: int, tally: Tally) -> None:
    """
    Kill the scenes in turn, go on, and compare.

    Args:
        base: a new folder.
        kills: how many in all.
        seed: of the moments.
        tally: receives the results.
    """
    base.mkdir(parents=True)
    with _servers(base) as (files_url, hub_url):
        scenes = _scenes(base, files_url, hub_url)
        expected: dict[str, tuple[Mapping[str, str], float]] = {}
        for scene in scenes:
            folder = base / f"{scene.name}-whole"
            scene.prepare(folder)
            start = time.monotonic()
            ended = run_forked(scene.work(folder), base / "log")
            if ended.how != "ok" or ended.code not in (0, 3):
                raise SystemExit(f"{scene.name} does not work without a kill: {ended}")
            expected[scene.name] = scene.results(folder), time.monotonic() - start
            if not expected[scene.name][0]:
                raise SystemExit(f"{scene.name} gives nothing that could be compared")
        rng = random.Random(seed)
        for number in range(kills):
            scene = scenes[number % len(scenes)]
            fault = _kill_once(scene, base / "work", rng, expected[scene.name], loses=number % 2 == 1)
            tally.add(f"kill: {scene.name}", fault, f"kill {number} of seed {seed}")


def _kill_once(
    scene: Scene, folder: Path, rng: random.Random, expected: tuple[Mapping[str, str], float], *, loses: bool
) -> Fault | None:
    shutil.rmtree(folder, ignore_errors=True)
    scene.prepare(folder)
    log, synced = folder.with_name("log"), folder.with_name("synced")
    synced.unlink(missing_ok=True)
    since_ns = time.time_ns()
    killed = run_forked(
        scene.work(folder), log, kill_after_s=rng.uniform(0.0, 1.05 * expected[1]), synced=synced if loses else None
    )
    if killed.how == "killed" and loses:
        lose_unsynced(folder, synced, since_ns)
    ended = Ended("", 0, "")
    for work in (scene.work, scene.again or scene.work):
        ended = run_forked(work(folder), log)
        if ended.how != "ok":
            return Fault(ended.how, ended.said)
        if ended.code in (0, 3):
            break
    if ended.code not in (0, 3):
        return Fault("does not go on", ended.said)
    found = scene.results(folder)
    if found != expected[0]:
        names = [name for name in {*found, *expected[0]} if found.get(name) != expected[0].get(name)]
        return Fault("wrong bytes", ", ".join(sorted(names)[:5]))
    return None


def _scenes(base: Path, files_url: str, hub_url: str) -> list[Scene]:
    manifests = base / "manifests"
    manifests.mkdir()
    (manifests / "packed.toml").write_text(PACKED.format(url=files_url))
    os.environ.update(UIR_MANIFESTS=str(manifests), UIR_CACHE=str(base / "cache"), HF_ENDPOINT=hub_url)
    os.environ.update(HF_TOKEN="hf_writer_secret", HF_HUB_DISABLE_XET="1", HF_HOME=str(base / "hf"))
    _must(run_forked(lambda: _make_inputs(base), base / "log"))
    numbers = itertools.count()
    fetched, pool, runs = base / "fetched", base / "pool", base / "runs"

    def nothing(folder: Path) -> None:
        folder.mkdir()

    def copied(source: Path) -> Callable[[Path], None]:
        return lambda folder: shutil.copytree(source, folder, symlinks=True) and None

    def to_push(folder: Path) -> None:
        shutil.copytree(base / "built", folder)
        # A new repository each time: in one that holds the files already there is nothing to interrupt.
        (folder / "repository").write_text(f"me/data{next(numbers)}")

    def published(folder: Path) -> Mapping[str, str]:
        name = (folder / "repository").read_text()
        with urllib.request.urlopen(f"{hub_url}/api/datasets/{name}/tree/main?recursive=true") as answer:
            rows = json.load(answer)
        # The card and its kin hold the name of the repository.
        pages = ("README.md", "croissant.json", "eval.yaml")
        return {row["path"]: row["oid"] for row in rows if row["type"] == "file" and row["path"] not in pages}

    def sources_of(folder: Path) -> Mapping[str, str]:
        return digests(folder, "root/sources/**/*.png", "root/sources/*/pairs.parquet")

    small = ["--size", 48, "--stride", 48, "--degradation", "jpeg,noise", "--level", "q10,gaussian-25", "--workers", 1]
    config = base / "tiny.toml"

    def weights_of(folder: Path) -> Mapping[str, str]:
        return _weights(folder / "run", base / "log")

    def scores_of(folder: Path) -> Mapping[str, str]:
        report = json.loads((folder / "eval/report.json").read_text())
        return {"scores": json.dumps(report["by_degradation"] if "by_degradation" in report else report["groups"])}

    return [
        Scene(
            "download",
            nothing,
            lambda f: command("uir", "fetch", "packed", "--root", f / "root", "-q"),
            sources_of,
        ),
        Scene(
            "unpack",
            nothing,
            lambda f: command("uir", "fetch", "packed", "--from", base / "files", "--root", f / "root", "-q"),
            sources_of,
        ),
        Scene(
            "verify",
            copied(fetched),
            lambda f: command("uir", "verify", "packed", "--deep", "--jobs", 1, "--root", f / "root", "-q"),
            sources_of,
        ),
        Scene(
            "build",
            copied(fetched),
            lambda f: command("uir", "build-shards", "mine", "--root", f / "root", "--out", f / "out", *small, "-q"),
            lambda f: digests(f, "out/**/*.tar", "out/manifest.parquet/*.parquet", "out/info.json"),
        ),
        Scene(
            "push",
            to_push,
            lambda f: command("uir", "push-hf", f / "shards", (f / "repository").read_text(), "-q"),
            published,
        ),
        Scene(
            "train",
            nothing,
            lambda f: command("maskdcpt", "train", "--config", config, "--out", f / "run", "-q"),
            weights_of,
            lambda f: command("maskdcpt", "train", "--out", f / "run", "--resume", "-q"),
        ),
        Scene(
            "eval",
            nothing,
            lambda f: command(
                "maskdcpt", "eval", "--checkpoint", runs / "fine", "--shards", pool / "shards", "--out", f / "eval",
                "--metric", "none", "-q",
            ),
            scores_of,
        ),
        Scene(
            "restore",
            nothing,
            lambda f: command(
                "maskdcpt", "restore", base / "photos", "--checkpoint", runs / "fine", "--out", f / "out", "-q"
            ),
            lambda f: digests(f, "out/**/*.png"),
        ),
    ]  # fmt: skip


def _make_inputs(base: Path) -> None:
    """Make photographs, an archive, a fetched root, shards, and a pre-trained and a fine-tuned run; in a child."""
    from maskdcpt.config.toml import to_toml, with_settings
    from maskdcpt.training.loop import train
    from tests.conftest import synthetic_image, write_png
    from tests.maskdcpt.tiny import tiny_config, write_shards

    for number in range(6):
        write_png(base / f"photos/p{number}.png", synthetic_image(96, 96, number))
        for role in ("lq", "gt"):
            write_png(base / f"pairs/{role}/{number}.png", synthetic_image(200, 200, number))
    (base / "files").mkdir()
    with zipfile.ZipFile(base / "files/packed.zip", "w") as archive:
        for path in sorted((base / "pairs").rglob("*.png")):
            archive.write(path, path.relative_to(base / "pairs"))
    import uirdata

    root = base / "fetched/root"
    uirdata.fetch("packed", from_dir=base / "files", root=root)
    uirdata.fetch("mine", from_dir=base / "photos", own=uirdata.OwnFolder(clean=True, licence="CC0"), root=root)
    uirdata.build("packed", root=root, out=base / "built/shards", workers=1)
    write_shards(base / "pool/shards")
    config = tiny_config(base / "pool/shards", base / "runs/pre", "loop.steps=12", "loop.checkpoint_every=2")
    (base / "tiny.toml").write_text(to_toml(config))
    train(config)
    train(
        with_settings(
            config, [f"out={base / 'runs/fine'}", "objective.kind=finetune", f"init.checkpoint={base / 'runs/pre'}"]
        )
    )


def _weights(run: Path, log: Path) -> Mapping[str, str]:
    """Return a digest of the tensors of the last checkpoint: the order of the metadata in a file is not fixed."""
    found = run / "weights.json"

    def work() -> None:
        import hashlib

        from safetensors.torch import load_file

        last = max((run / "checkpoints").glob("step-*"))
        tensors = load_file(last / "model.safetensors")
        rows = {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in tensors.items()}
        found.write_text(json.dumps({"step": last.name, **rows}, sort_keys=True))

    _must(run_forked(work, log))
    read: dict[str, str] = json.loads(found.read_text())
    return read


def _must(ended: Ended) -> None:
    if ended.how != "ok" or ended.code:
        raise SystemExit(f"the fault run cannot prepare its inputs: {ended.said}")


@contextmanager
def _servers(base: Path) -> Iterator[tuple[str, str]]:
    """Run a file server and a Hub, in processes of their own: a child of this one must not inherit their threads."""
    (base / "files").mkdir(exist_ok=True)
    shutil.rmtree(base / "files")
    files = (
        "import http.server, functools, os\n"
        f"handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory={str(base / 'files')!r})\n"
        "handler.log_message = None\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)\n"
        "print(f'http://127.0.0.1:{server.server_port}', flush=True)\nserver.serve_forever()\n"
    )
    hub = (
        "import time\nfrom tests.hub import hub\n"
        "with hub() as h:\n    print(h.url, flush=True)\n    time.sleep(10**6)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for code in (files, hub)
    ]
    try:
        urls = []
        for process in running:
            assert process.stdout is not None
            urls.append(process.stdout.readline().strip())
        yield urls[0], urls[1]
    finally:
        for process in running:
            process.kill()
            process.wait()
