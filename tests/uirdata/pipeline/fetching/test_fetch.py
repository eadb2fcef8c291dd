from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import synthetic_image, write_png
from tests.uirdata.pipeline.fetching.archived import tarred, zipped
from tests.uirdata.servers import PAGE, Habits, serving
from uirdata.errors import StorageError, UsageError
from uirdata.images import encode_image
from uirdata.layout import Layout
from uirdata.pairing import Exclude, PairRule
from uirdata.pipeline.fetching.fetch import FetchReport, SourceOutcome, add_local_source, fetch, plan_fetch
from uirdata.progress import Silent
from uirdata.sources import FileSet, Mirror, RemoteFile, Source, load_sources, read_source
from uirdata.storage.downloads import Pace
from uirdata.storage.tables import read_table
from uirdata.storage.transfers.receipts import Receipts

QUICK = Pace(attempts=3, first_wait_s=0.001, longest_wait_s=0.002, stall_s=0.5)
RULE = PairRule("train", "haze", False, "**/gt/{n}.png", "**/lq/{n}.png")


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def images(count: int = 3, *, seed: int = 0, height: int = 24) -> dict[str, bytes]:
    return {
        f"set/{side}/{i}.png": encode_image(synthetic_image(height, 32, seed + i), "png")
        for side in ("lq", "gt")
        for i in range(count)
    }


def source_of(*files: RemoteFile, name: str = "s", rules: tuple[PairRule, ...] = (RULE,)) -> Source:
    return Source(id=name, title="t", licence="l", files=files, pairs=rules)


def http_file(url: str, name: str, archive: str = "zip", **more: object) -> RemoteFile:
    mirror = Mirror("http", f"{url}/{name}", "official")
    return RemoteFile(name, (mirror,), archive=archive, **more)  # type: ignore[arg-type]


def run(source: Source, root: Path, notes: Notes | None = None, **options: object) -> SourceOutcome:
    from_dir = options.pop("from_dir", None)
    plan = plan_fetch([source], Layout(root), from_dir=from_dir)  # type: ignore[arg-type]
    progress = notes if notes is not None else Silent()
    report = fetch(plan, jobs=2, progress=progress, pace=QUICK, **options)  # type: ignore[arg-type]
    return report.sources[0]


def pairs(root: Path, name: str = "s") -> list[tuple[str, str, bool, str]]:
    rows = read_table(Layout(root).pairs(name)).to_pylist()
    return [(row["lq"], row["gt"], row["ok"], row["reason"]) for row in rows]


def test_a_source_is_downloaded_unpacked_and_paired(tmp_path: Path) -> None:
    notes = Notes()
    with serving({"/s.zip": zipped(images())}) as server:
        outcome = run(source_of(http_file(server.url, "s.zip")), tmp_path, notes)
    assert outcome.state == "done"
    assert pairs(tmp_path) == [(f"set/lq/{i}.png", f"set/gt/{i}.png", True, "") for i in range(3)]
    row = read_table(Layout(tmp_path).pairs("s")).to_pylist()[0]
    assert (row["height"], row["width"], row["degradation"]) == (24, 32, "haze")
    receipt = Receipts(Layout(tmp_path).receipts("s")).get("s.zip")
    assert receipt is not None
    assert receipt.sha256 == hashlib.sha256(zipped(images())).hexdigest()
    assert any("no hash of it is published" in note for note in notes.notes)


def test_a_second_run_makes_no_request(tmp_path: Path) -> None:
    with serving({"/s.zip": zipped(images())}) as server:
        source = source_of(http_file(server.url, "s.zip"))
        first = run(source, tmp_path)
        table = Layout(tmp_path).pairs("s").read_bytes()
        asked = len(server.requests)
        second = run(source, tmp_path)
        assert len(server.requests) == asked
    assert (first.state, second.state) == ("done", "done")
    assert [file.state for file in second.files] == ["here"]
    assert Layout(tmp_path).pairs("s").read_bytes() == table


def test_pruned_archives_are_not_fetched_again(tmp_path: Path) -> None:
    with serving({"/s.tar.gz": tarred(images())}) as server:
        source = source_of(http_file(server.url, "s.tar.gz", "tar"))
        assert run(source, tmp_path, prune=True).state == "done"
        assert not (Layout(tmp_path).downloads("s") / "s.tar.gz").exists()
        asked = len(server.requests)
        assert run(source, tmp_path).state == "done"
        assert len(server.requests) == asked


def test_one_failing_source_does_not_stop_the_others(tmp_path: Path) -> None:
    with serving({"/good.zip": zipped(images())}) as server:
        good = source_of(http_file(server.url, "good.zip"), name="good")
        bad = source_of(http_file(server.url, "bad.zip"), name="bad")
        plan = plan_fetch([bad, good], Layout(tmp_path))
        report = fetch(plan, jobs=2, progress=Silent(), pace=QUICK)
    assert [(s.id, s.state) for s in report.sources] == [("bad", "failed"), ("good", "done")]
    assert "the server answers 404" in report.sources[0].files[0].message
    assert not report.is_complete


def test_half_of_a_source_is_paired_and_reported_as_partly_done(tmp_path: Path) -> None:
    with serving({"/a.zip": zipped(images())}) as server:
        source = source_of(http_file(server.url, "a.zip"), http_file(server.url, "b.zip"))
        outcome = run(source, tmp_path)
    assert outcome.state == "partly"
    assert outcome.inventory is not None
    assert outcome.inventory.total == 3


def test_later_bytes_that_differ_are_an_error_that_recognises_a_repack(tmp_path: Path) -> None:
    again = dict(reversed(list(images().items())))
    with serving({"/s.zip": zipped(images())}) as server:
        source = source_of(http_file(server.url, "s.zip"))
        run(source, tmp_path)
        shutil.rmtree(Layout(tmp_path).downloads("s") / "s.zip", ignore_errors=True)
        (Layout(tmp_path).downloads("s") / "s.zip").unlink()
        journal = next((Layout(tmp_path).source("s") / ".uir").glob("s.zip*"))
        kept = journal.read_text()
        # If unpacked, it would count as present; a run that stopped while unpacking must download it again.
        server.files["/s.zip"] = zipped(again)
        lines = kept.splitlines()
        journal.write_text("\n".join(lines[:-1]) + "\n")
        outcome = run(source, tmp_path)
        assert outcome.files[0].state == "failed"
        assert "the receipt of its first download" in outcome.files[0].message
        journal.write_text(kept)
        from uirdata.pipeline.fetching.source_files import SourceDownloader

        bringer = SourceDownloader(
            source, Layout(tmp_path), {}, pace=QUICK, progress=Silent(), jobs=1, accept_changed=False
        )
        (tmp_path / "again.zip").write_bytes(zipped(again))
        (tmp_path / "other.zip").write_bytes(zipped(images(seed=50)))
        (tmp_path / "page.zip").write_bytes(PAGE)
        explain = bringer._explain
        assert "it holds the same 6 files, bit for bit: it was only packed again" in explain(
            source.files[0], tmp_path / "again.zip"
        )
        assert "6 of the 6 files that are unpacked here are not in it" in explain(
            source.files[0], tmp_path / "other.zip"
        )
        assert "it is not a zip" in explain(source.files[0], tmp_path / "page.zip")
        assert run(source, tmp_path, accept_changed=True).state == "done"


def test_a_page_instead_of_an_archive_is_never_pinned(tmp_path: Path) -> None:
    junk = b"not an archive, and no page either" * 100
    with serving({"/s.zip": junk}) as server:
        outcome = run(source_of(http_file(server.url, "s.zip")), tmp_path)
    assert outcome.state == "failed"
    assert "it is not a zip" in outcome.files[0].message
    assert Receipts(Layout(tmp_path).receipts("s")).all() == {}


def test_a_manual_download_is_reported_with_where_to_save_it(tmp_path: Path) -> None:
    mirror = Mirror("manual", "https://pan.example/s/1", "official", "by-hand", "code ab12")
    source = source_of(RemoteFile("s.zip", (mirror,), archive="zip"))
    outcome = run(source, tmp_path)
    assert outcome.state == "by hand"
    assert outcome.todo == (
        f"s.zip: open https://pan.example/s/1 (code ab12); then save it as {tmp_path}/downloads/s/s.zip, "
        "or run `uir fetch s --from DIR` with its folder",
    )
    # If the user puts it there, it is used as it is.
    (tmp_path / "downloads/s/s.zip").write_bytes(zipped(images()))
    assert run(source, tmp_path).state == "done"


@pytest.mark.parametrize("name", ["s.zip", "S.ZIP", "s (1).zip", "deep/er/s.zip"])
def test_a_file_of_the_users_is_found_by_its_name(tmp_path: Path, name: str) -> None:
    given = tmp_path / "mine" / name
    given.parent.mkdir(parents=True)
    given.write_bytes(zipped(images()))
    source = source_of(
        RemoteFile("s.zip", (Mirror("manual", "https://x.example", "official", "by-hand"),), archive="zip")
    )
    outcome = run(source, tmp_path / "root", from_dir=tmp_path / "mine")
    assert outcome.state == "done"
    assert outcome.files[0].state == "given"
    assert given.exists()


def test_a_file_of_the_users_is_found_by_size_or_hash_under_any_name(tmp_path: Path) -> None:
    data = zipped(images())
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "download.zip").write_bytes(data)
    (mine / "s.zip").write_bytes(data[:-1] + b"x")
    manual = (Mirror("manual", "https://x.example", "official", "by-hand"),)
    sha = hashlib.sha256(data).hexdigest()
    by_hash = source_of(RemoteFile("s.zip", manual, archive="zip", sha256=sha))
    plan = plan_fetch([by_hash], Layout(tmp_path / "root"), from_dir=mine)
    assert plan.sources[0].files[0].given == mine / "download.zip"
    (mine / "s.zip").write_bytes(b"short")
    by_size = source_of(RemoteFile("s.zip", manual, archive="zip", size=len(data)))
    plan = plan_fetch([by_size], Layout(tmp_path / "root"), from_dir=mine)
    assert plan.sources[0].files[0].given == mine / "download.zip"
    md5 = hashlib.md5(data).hexdigest()
    assert (
        run(source_of(replace(by_size.files[0], size=None, md5=md5)), tmp_path / "root", from_dir=mine).state == "done"
    )


def test_a_tree_of_the_users_is_taken_where_archives_are_not_there(tmp_path: Path) -> None:
    for path, data in images().items():
        (tmp_path / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / path).write_bytes(data)
    source = source_of(http_file("http://127.0.0.1:9", "s.zip"))
    assert run(source, tmp_path / "root", from_dir=tmp_path / "mine").state == "done"
    assert len(pairs(tmp_path / "root")) == 3
    assert run(source, tmp_path / "root").state == "done"
    with pytest.raises(UsageError, match="no such folder"):
        run(source, tmp_path / "root", from_dir=tmp_path / "not there")


def test_the_alternative_that_is_present_is_used(tmp_path: Path) -> None:
    manual = RemoteFile("s.rar", (Mirror("manual", "https://x.example", "official", "by-hand"),), archive="rar")
    with serving({"/repack.zip": zipped(images())}) as server:
        repack = FileSet("repack", (http_file(server.url, "repack.zip"),))
        source = replace(source_of(manual), alternatives=(repack,))
        plan = plan_fetch([source], Layout(tmp_path))
        assert plan.sources[0].file_set == "repack"
        assert run(source, tmp_path).state == "done"


def test_an_alternative_that_no_source_has_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file set of these sources has the name 'restormr'.*restormer"):
        plan_fetch([load_sources()["dpdd"], load_sources()["gopro"]], Layout(tmp_path), alternative="restormr")


def test_a_failure_names_the_other_file_sets_of_the_images(tmp_path: Path) -> None:
    with serving({"/repack.zip": zipped(images())}) as server:
        repack = FileSet("repack", (http_file(server.url, "repack.zip"),))
        source = replace(source_of(http_file(server.url, "gone.zip")), alternatives=(repack,))
        outcome = run(source, tmp_path)
        assert outcome.state == "failed"
        assert "--alternative with one of: repack" in outcome.problems[-1]
        plan = plan_fetch([source], Layout(tmp_path), alternative="repack")
        assert fetch(plan, jobs=1, progress=Silent(), pace=QUICK).is_complete


def test_a_package_that_is_missing_says_what_to_install(tmp_path: Path) -> None:
    mirror = Mirror("package", "no-such-package:x/y.png", "official")
    outcome = run(source_of(RemoteFile("y.png", (mirror,))), tmp_path)
    assert outcome.state == "by hand"
    assert outcome.todo[0].endswith("(or pip install no-such-package); then run the same command again")


def test_where_an_alternative_fails_the_manual_download_is_reported(tmp_path: Path) -> None:
    manual = RemoteFile("s.rar", (Mirror("manual", "https://x.example", "official", "by-hand"),), archive="rar")
    with serving({}) as server:
        source = replace(source_of(manual), alternatives=(FileSet("repack", (http_file(server.url, "gone.zip"),)),))
        outcome = run(source, tmp_path)
    assert outcome.state == "failed"
    assert outcome.problems[-1].startswith("s.rar, from its authors: open https://x.example; then save it as")


def test_pieces_are_joined_and_archives_in_archives_unpacked(tmp_path: Path) -> None:
    whole = zipped({"inner/x.tar.gz": tarred(images())})
    half = len(whole) // 2
    with serving({"/s.zip.001": whole[:half], "/s.zip.002": whole[half:]}) as server:
        files = tuple(http_file(server.url, f"s.zip.00{i}", part_of="s.zip") for i in (1, 2))
        assert run(source_of(*files), tmp_path).state == "done"
    assert pairs(tmp_path)[0][:2] == ("inner/set/lq/0.png", "inner/set/gt/0.png")


@pytest.mark.parametrize("cut", [0, 300, 10_000_000])
def test_a_file_of_another_program_is_renamed_unless_it_is_the_right_file(tmp_path: Path, cut: int) -> None:
    data, notes = zipped(images()), Notes()
    here = Layout(tmp_path).downloads("s") / "s.zip"
    here.parent.mkdir(parents=True)
    here.write_bytes(data[:cut])
    with serving({"/s.zip": data}) as server:
        assert run(source_of(http_file(server.url, "s.zip")), tmp_path, notes).state == "done"
        asked = len(server.requests)
    aside = here.with_name("s.zip.aside")
    if cut >= len(data):
        assert asked == 0
        assert not aside.exists()
    else:
        assert here.read_bytes() == data
        assert aside.read_bytes() == data[:cut]
        assert any("downloaded again" in note for note in notes.notes)


def test_pairs_of_other_sizes_and_broken_images_are_left_out_with_the_reason(tmp_path: Path) -> None:
    files = images(5)
    files["set/lq/1.png"] = encode_image(synthetic_image(20, 32), "png")
    files["set/gt/2.png"] = b"\x89PNG broken"
    del files["set/gt/3.png"]
    rule = replace(RULE, exclude=(Exclude("**/lq/4.png", "known to be wrong"),))
    with serving({"/s.zip": zipped(files)}) as server:
        outcome = run(source_of(http_file(server.url, "s.zip"), rules=(rule,)), tmp_path)
    assert outcome.inventory is not None
    assert outcome.inventory.total == 1
    reasons = {lq or gt: reason for lq, gt, ok, reason in pairs(tmp_path) if not ok}
    assert reasons["set/lq/1.png"] == "sizes differ: LQ 32x20, GT 32x24"
    assert reasons["set/lq/2.png"].startswith("the GT cannot be used: is no image")
    assert reasons["set/lq/3.png"] == "no GT: set/gt/3.png is missing"
    assert reasons["set/lq/4.png"] == "known to be wrong"
    assert outcome.inventory.left_out["sizes differ"] == 1


def test_a_border_of_the_gt_is_taken_off_before_sizes_are_compared(tmp_path: Path) -> None:
    files = {
        "gt/1.png": encode_image(synthetic_image(44, 52), "png"),
        "lq/1.png": encode_image(synthetic_image(24, 32), "png"),
    }
    with serving({"/s.zip": zipped(files)}) as server:
        run(source_of(http_file(server.url, "s.zip"), rules=(replace(RULE, gt_border=10),)), tmp_path)
    assert pairs(tmp_path) == [("lq/1.png", "gt/1.png", True, "")]


def test_too_little_disk_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    with serving({"/s.zip": zipped(images())}) as server:
        plan = plan_fetch([source_of(http_file(server.url, "s.zip", about_size=10**15))], Layout(tmp_path))
        with pytest.raises(StorageError, match="Nothing was downloaded"):
            fetch(plan, jobs=1, progress=Silent())
        assert server.requests == []
    assert (plan.bytes_to_fetch, plan.bytes_on_disk) == (10**15, 2 * 10**15)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_asks_no_server_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a plan must not open a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    plan = plan_fetch(list(load_sources().values()), Layout(tmp_path))
    assert plan.bytes_to_fetch > 10**11
    assert {file.state for source in plan.sources for file in source.files} <= {"missing", "by hand"}
    assert all(file.todo for _, file in plan.by_hand)
    assert list(tmp_path.iterdir()) == []


def test_a_partial_download_is_planned_and_resumed(tmp_path: Path) -> None:
    data = zipped(images(40, height=64))
    with serving({"/s.zip": data}, Habits(drop_after=30_000)) as server:
        source = source_of(http_file(server.url, "s.zip", size=len(data)))
        plan = plan_fetch([source], Layout(tmp_path))
        fetch(plan, jobs=1, progress=Silent(), pace=replace(QUICK, attempts=1))
        again = plan_fetch([source], Layout(tmp_path)).sources[0].files[0]
        assert (again.state, again.here_bytes, again.to_fetch) == ("partial", 30_000, len(data) - 30_000)
        server.habits.drop_after = None
        assert run(source, tmp_path).state == "done"
        assert server.requests[-1][1] == f"bytes={30_000 - 4096}-"


def test_two_commands_at_once_do_not_write_one_file(tmp_path: Path) -> None:
    with serving({"/s.zip": zipped(images(60, height=64))}, Habits(bytes_per_s=1_000_000)) as server:
        source = source_of(http_file(server.url, "s.zip"))
        outcomes: list[FetchReport] = []
        threads = [threading.Thread(target=lambda: outcomes.append(_run_report(source, tmp_path))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    states = sorted(outcome.sources[0].state for outcome in outcomes)
    assert states == ["done", "failed"]
    (problem,) = [p for outcome in outcomes for p in outcome.sources[0].problems]
    assert "s is being fetched by another command (process " in problem
    assert problem.endswith("wait until it ends")


def _run_report(source: Source, root: Path) -> FetchReport:
    return fetch(plan_fetch([source], Layout(root)), jobs=1, progress=Silent(), pace=QUICK)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_source_is_fetched_where_the_file_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with serving({"/s.zip": zipped(images())}) as server:
        assert run(source_of(http_file(server.url, "s.zip")), tmp_path).state == "done"
    assert not list(tmp_path.rglob("*.held*"))


def test_a_folder_of_the_users_becomes_a_source_and_stays_where_it_is(tmp_path: Path) -> None:
    mine, root = tmp_path / "mine", tmp_path / "root"
    for i in range(3):
        write_png(mine / f"hazy/{i}.png", synthetic_image(20, 24, i))
        write_png(mine / f"clear/{i}.png", synthetic_image(20, 24, i))
    layout = Layout(root)
    source = add_local_source("my-haze", mine, layout)
    assert read_source(layout.manifests / "my-haze.toml") == source
    assert "my-haze" in load_sources([layout.manifests])
    outcome = run(source, root)
    assert outcome.state == "done"
    assert pairs(root, "my-haze") == [(f"hazy/{i}.png", f"clear/{i}.png", True, "") for i in range(3)]
    assert not (root / "downloads/my-haze/hazy").exists()
    with pytest.raises(UsageError, match="is a published source"):
        add_local_source("gopro", mine, layout)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="such names are not on every disk")
def test_a_file_whose_name_no_table_can_hold_is_left_out_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("ü.png", "e\u0301.png", "#1 'x'.png", "{n}.png", "-rf.png"):
        write_png(folder / name, synthetic_image(40, 50, 1))
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.png")).write_bytes(b"x")
    layout = Layout(tmp_path / "root")
    source = add_local_source("mine", folder, layout)
    (outcome,) = fetch(plan_fetch([source], layout), jobs=1, progress=Silent()).sources
    assert outcome.inventory is not None
    assert outcome.inventory.total == 5
    assert dict(outcome.inventory.left_out) == {"its name is not UTF-8": 1}
    assert outcome.inventory.examples == {"its name is not UTF-8": "bad\\udcff.png"}


def test_links_to_folders_are_followed_and_cycles_end(tmp_path: Path) -> None:
    for i in range(2):
        write_png(tmp_path / f"elsewhere/{i}.png", synthetic_image(20, 24, i))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photos").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/up").symlink_to(tmp_path / "mine")
    source = add_local_source("my-photos", tmp_path / "mine", Layout(tmp_path / "root"))
    run(source, tmp_path / "root")
    assert [gt for _, gt, _, _ in pairs(tmp_path / "root", "my-photos")] == ["photos/0.png", "photos/1.png"]


def test_the_sample_source_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("socket.socket.connect", lambda *_: (_ for _ in ()).throw(AssertionError("no network")))
    outcome = run(load_sources()["sample"], tmp_path)
    assert outcome.state == "done", outcome
    rows = read_table(Layout(tmp_path).pairs("sample")).to_pylist()
    assert all(row["ok"] for row in rows)
    splits = {row["split"]: {r["scene"] for r in rows if r["split"] == row["split"]} for row in rows}
    assert splits["train"]
    assert splits["train"].isdisjoint(splits["test"])


def test_receipts_say_where_from_and_when(tmp_path: Path) -> None:
    with serving({"/s.zip": zipped(images())}) as server:
        run(source_of(http_file(server.url, "s.zip")), tmp_path)
        document = json.loads((tmp_path / "downloads/s/receipts.json").read_text())["files"]["s.zip"]
        assert document["url"] == f"{server.url}/s.zip"
    assert document["bytes"] == len(zipped(images()))
    assert document["when"].startswith("20")
    assert document["pinned_by"] == "first use"
