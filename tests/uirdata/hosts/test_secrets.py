from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uirdata
from tests.cli.commands import uir
from tests.uirdata.servers import serving
from uirdata.errors import PublishError, UirError, UsageError
from uirdata.hosts.http import Http
from uirdata.hosts.huggingface import HuggingFace
from uirdata.hosts.kaggle import Kaggle
from uirdata.hosts.objects import Objects
from uirdata.hosts.package import Package
from uirdata.hosts.repository import Repository
from uirdata.hosts.web import WebClient
from uirdata.pipeline.opening import metadata
from uirdata.pipeline.publishing.outgoing import _refuse_passwords
from uirdata.sources import is_remote_object, load_sources, read_source
from uirdata.transfer import DownloadError, Unreachable, redacted

SECRET = "s3cr3t-pass"


@given(
    st.sampled_from(["http", "https", "ftp", "s3", "sftp", "HTTP"]),
    st.text("abcXYZ019-._~%!$&'()*+,;=", min_size=1, max_size=8),
    st.text("abcXYZ019-._~%!$&'()*+,;=:@/#?", min_size=1, max_size=8),
    st.sampled_from(["", "/a.zip", ":8080/a/b?size=2", "/@me/x"]),
)
def test_no_password_of_a_url_is_shown(scheme: str, user: str, password: str, rest: str) -> None:
    password = f"Q{password}Q"
    shown = redacted(f"cannot open {scheme}://{user}:{password}@example.org{rest}: timed out")
    assert password not in shown
    assert shown.startswith("cannot open")
    assert shown.endswith(": timed out")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a@b.zip",
        "https://example.org:8080/a:b@c",
        "abfs://container@account.dfs.core.windows.net/a",
        "hf://datasets/me/mine@main",
        "https://drive.google.com/uc?id=5&resourcekey=7",
    ],
)
def test_a_url_without_a_password_stays_as_it_is(url: str) -> None:
    assert redacted(url) == url


@pytest.mark.parametrize("name", ["token", "X-Amz-Signature", "sig", "access_token"])
def test_what_signs_a_url_is_not_shown(name: str) -> None:
    assert redacted(f"https://example.org/a?x=1&{name}={SECRET}&y=2") == f"https://example.org/a?x=1&{name}=***&y=2"


def test_a_password_in_a_mirror_is_used_and_not_kept(tmp_path: Path) -> None:
    with serving({"/a.zip": b"data"}) as server:
        address = server.url.replace("http://", f"http://me:{SECRET}@") + "/a.zip"
        incoming = Http(WebClient()).open(address)
        assert b"".join(incoming.chunks) == b"data"
        assert SECRET not in incoming.url
        basic = server.headers[-1]["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(basic).decode() == f"me:{SECRET}"
        with pytest.raises(DownloadError, match="404") as caught:
            Http(WebClient()).open(address.replace("a.zip", "b.zip"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [f"http://me:{SECRET}/x@127.0.0.1:1/a", f"http://me:{SECRET}@[::1/a", f"http://me:{SECRET}@127.0.0.1:1/a"],
)
def test_no_error_of_an_address_quotes_its_password(address: str) -> None:
    with pytest.raises(DownloadError) as caught:
        Http(WebClient()).open(address)
    assert SECRET not in str(caught.value)
    assert SECRET not in Http(WebClient()).link(address)


def test_no_error_of_a_proxy_quotes_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in (f"http://me:{SECRET}@127.0.0.1:1", f"http://me:1/{SECRET}@127.0.0.1:1"):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(DownloadError) as caught:
            WebClient().open("http://example.invalid/a")
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("place", [f"ftp://me:{SECRET}@127.0.0.1:1/pool", f"foo://me:{SECRET}@host/pool"])
def test_no_error_of_object_storage_quotes_a_password(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("uirdata.storage.downloads.Pace.attempts", 1, raising=False)
    for ask in (lambda: Objects().open(place), lambda: Objects().files(place)):
        with pytest.raises(UirError) as caught:
            ask()
        assert SECRET not in str(caught.value)
    result = uir("build-shards", "--out", place, "--root", tmp_path)
    assert result.exit_code == 1
    assert SECRET not in result.output
    assert not [path for path in tmp_path.rglob("*") if SECRET in str(path)]


def test_the_cache_of_remote_shards_has_no_password_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UIR_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving({}) as server, pytest.raises(DownloadError) as caught:
        metadata(server.url.replace("http://", f"http://me:{SECRET}@") + "/pool")
    assert SECRET not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if SECRET in str(path)]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("endpoint", [f"http://me:{SECRET}/x@127.0.0.1:1", f"http://me:{SECRET}@127.0.0.1:1"])
def test_no_error_of_the_hub_quotes_the_password_of_its_address(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises((PublishError, DownloadError)) as one:
        Repository("me/mine", token="hf_a", endpoint=endpoint, waits_s=()).read()
    with pytest.raises(DownloadError) as other:
        HuggingFace(WebClient(), endpoint=endpoint).open("dataset:me/mine@main:info.json")
    assert SECRET not in str(one.value) + str(other.value)


MANIFEST = """
title = "Mine"
licence = "CC0"
[[files]]
name = "mine.zip"
archive = "zip"
mirrors = [{{ host = "{host}", where = "{where}", trust = "official" }}]
[[pairs]]
split = "train"
degradation = ""
real = false
gt = "{{n}}.png"
lq = ""
"""


def write_manifest(folder: Path, host: str, where: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.toml"
    path.write_text(MANIFEST.format(host=host, where=where))
    return path


def test_the_commands_show_no_password_of_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({}) as server:
        address = server.url.replace("http://", f"http://me:{SECRET}@") + "/mine.zip"
        write_manifest(tmp_path / "manifests", "http", address)
        for words in (
            ["sources", "mine"],
            ["sources", "mine", "--json"],
            ["fetch", "mine", "--dry-run"],
            ["fetch", "mine", "--dry-run", "--json"],
            ["fetch", "mine"],
        ):
            assert SECRET not in uir(*words, "--root", tmp_path).output
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "mine.toml"]
    assert not [path for path in left if SECRET.encode() in path.read_bytes()]


def test_a_manifest_with_a_password_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="password") as caught:
        _refuse_passwords(write_manifest(tmp_path, "http", f"https://me:{SECRET}@example.org/a.zip"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", "\n\n"])
def test_the_line_end_of_a_token_is_trimmed(end: str) -> None:
    assert Repository("me/mine", token=f"hf_abc{end}").token == "hf_abc"


@pytest.mark.parametrize("token", ["hf_abc\ndef", "hf_abc def", "hf_äbc", "hf_abc\x00"])
def test_a_token_that_cannot_be_one_is_refused_without_showing_it(tmp_path: Path, token: str, built: Path) -> None:
    with pytest.raises(UsageError, match="the token has") as caught:
        Repository("me/mine", token=token)
    assert "abc" not in str(caught.value)
    result = uir("push-hf", built, "me/mine", "--token", token, "--dry-run")
    assert result.exit_code == 2
    assert "abc" not in result.output


@pytest.mark.parametrize(
    "where",
    ["file:///home/me/a.zip", "/home/me/a.zip", "local:///a", "zip://a::file:///b", "simplecache::/a", "sftp://h/a"],
)
def test_only_a_manifest_of_the_users_own_reads_files_of_this_machine(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_manifest(tmp_path / "sources", "objects", where)
    assert not is_remote_object(where)
    assert read_source(path).files[0].mirrors[0].where == where
    monkeypatch.setattr("uirdata.sources.MANIFESTS", tmp_path)
    with pytest.raises(UirError, match="is on this machine"):
        load_sources()


def test_mirrors_at_storage_services_are_no_files_of_this_machine(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, "objects", "s3://bucket/a.zip")
    assert read_source(path, own=False).id == "mine"


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "/etc/passwd", "a/../../b", ""])
def test_a_file_of_a_package_lies_in_it(path: str) -> None:
    with pytest.raises(Unreachable):
        Package().open(f"numpy:{path}")


@pytest.mark.parametrize("where", ["../../v1/kernels", "a/b/../c", "owner", "owner/name:../../x"])
def test_a_data_set_of_kaggle_is_no_other_address(where: str) -> None:
    with serving({}) as server, pytest.raises(Unreachable, match="is no data set of Kaggle"):
        Kaggle(WebClient(), endpoint=server.url).open(where)
    assert server.requests == []


def test_the_page_of_a_publication_has_no_password_of_the_endpoint(built: Path) -> None:
    from uirdata.pipeline.publishing.outgoing import pages
    from uirdata.pipeline.publishing.publication import describe

    publication = describe(built, "me/mine", recipes_only=True)
    written = pages(publication, f"https://me:{SECRET}@hub.example.org")
    assert SECRET not in json.dumps({name: data.decode() for name, data in written.items()})
    assert uirdata.__name__
