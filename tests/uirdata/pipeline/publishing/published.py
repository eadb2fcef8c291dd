"""What tests of publishing share: a small pool whose source may be redistributed, and a Hub for huggingface_hub."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.hub import WRITER, Hub, hub
from uirdata.pipeline.publishing.publication import Publication, describe
from uirdata.pipeline.publishing.push import PushReport, plan_push, push
from uirdata.storage.downloads import Pace

REPO = "me/small"

MANIFEST = """
title = "Photographs of here"
licence = "CC BY 4.0"
redistributable = {free}
homepage = "https://example.org/here"
citation = "A. Body, Photographs of here, 2020"
known_defects = ["The third one is crooked."]

[[files]]
name = "here.zip"
mirrors = [{{ host = "manual", where = "https://example.org/here", trust = "official" }}]

[[pairs]]
split = "train"
degradation = ""
real = false
gt = "{{n}}.png"
lq = ""
"""


def manifests(folder: Path, *, free: bool = True) -> list[Path]:
    """Return a folder of manifests with the source of the pool."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "here.toml").write_text(MANIFEST.format(free=str(free).lower()))
    return [folder]


@contextmanager
def online_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, token: str = WRITER) -> Iterator[Hub]:
    """Run a Hub, make huggingface_hub use it, and make all waiting times zero."""
    with hub() as server:
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(cache / "no-token"))
        patient = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
        monkeypatch.setattr("huggingface_hub.utils._http.time", patient)
        monkeypatch.setattr("uirdata.hosts.repository.time", patient)
        monkeypatch.setattr("uirdata.pipeline.opening.time", patient)
        hurried = functools.partial(Pace, first_wait_s=0.001, longest_wait_s=0.002)
        monkeypatch.setattr("uirdata.storage.remote.Pace", hurried)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("UIR_CACHE", str(cache))
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        yield server


def publish(pool: Path, folder: Path, *, recipes_only: bool = False, replace: bool = False) -> PushReport:
    """Push a pool as the command does; return the report."""
    from uirdata.hosts.repository import Repository

    repository = Repository(REPO)
    return push(plan_push(described(pool, folder, recipes_only=recipes_only), repository, replace=replace), repository)


def described(pool: Path, folder: Path, *, recipes_only: bool = False) -> Publication:
    return describe(pool, REPO, recipes_only=recipes_only, manifests=manifests(folder / "manifests"))
