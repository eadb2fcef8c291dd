from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import synthetic_image, write_png
from tests.uirdata.pipeline.fetching.archived import zipped
from uirdata.errors import StorageError
from uirdata.images import RgbImage, encode_image, to_uint8
from uirdata.layout import Layout
from uirdata.manifest_syntax.pair_rules import Exclude
from uirdata.pairing import PairRule
from uirdata.pipeline.fetching.fetch import add_local_source, fetch, plan_fetch
from uirdata.pipeline.verifying import byte_checks
from uirdata.pipeline.verifying import verify as verify_module
from uirdata.pipeline.verifying.pixel_checks import (
    WRONG_PARTNER,
    Group,
    Seen,
    clarity,
    inspect_group,
    likeness,
    registration,
)
from uirdata.pipeline.verifying.verify import SourceVerification, pin_lines, verify
from uirdata.progress import Silent
from uirdata.sources import Feed, Mirror, RemoteFile, Source
from uirdata.storage.tables import read_table

RULE = PairRule("train", "haze", False, "gt/{n}.png", "lq/{n}.png", published=5)


def scene(seed: int, height: int = 140, width: int = 170) -> RgbImage:
    """Return a scene with structure at all scales, different for each seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    base = sum(
        cv2.resize(rng.uniform(0, 255, (n, n, 3)), (width, height), interpolation=cv2.INTER_CUBIC) / k
        for k, n in ((4.0, 4), (3.0, 10), (3.0, 24), (4.0, 60))
    )
    return to_uint8(np.asarray(base))


def hazy(image: RgbImage) -> RgbImage:
    return to_uint8(image * 0.6 + 90)


def image_bytes(seed: int) -> bytes:
    return encode_image(synthetic_image(40, 50, seed), "png")


def make_pair(root: Path, name: str, lq: RgbImage, gt: RgbImage) -> None:
    write_png(root / f"lq/{name}.png", lq)
    write_png(root / f"gt/{name}.png", gt)


def local(tmp_path: Path, **rule: object) -> tuple[Source, Layout]:
    layout = Layout(tmp_path / "root")
    source = add_local_source("mine", tmp_path / "mine", layout, lq="lq", gt="gt", degradation="haze")
    return replace(source, pairs=(replace(source.pairs[0], **rule),)), layout  # type: ignore[arg-type]


def check(source: Source, layout: Layout, *, deep: bool = True, jobs: int = 1) -> SourceVerification:
    return verify([source], layout, deep=deep, jobs=jobs, progress=Silent()).sources[0]


def reasons(layout: Layout) -> dict[str, str]:
    return {
        row["lq"] or row["gt"]: row["reason"] for row in read_table(layout.pairs("mine")).to_pylist() if not row["ok"]
    }


def test_a_deep_verification_leaves_out_unusable_pairs_with_the_reason(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for i in range(3):
        make_pair(mine, f"good{i}", hazy(scene(i)), scene(i))
    make_pair(mine, "wrong", hazy(scene(7)), scene(8))
    make_pair(mine, "flat", np.full_like(scene(0), 80), scene(9))
    make_pair(mine, "same", scene(10), scene(10))
    make_pair(mine, "cut", hazy(scene(11)), scene(11))
    data = (mine / "lq/cut.png").read_bytes()
    (mine / "lq/cut.png").write_bytes(data[: len(data) // 2])
    make_pair(mine, "moved", np.roll(hazy(scene(12)), 9, axis=1), scene(12))
    source, layout = local(tmp_path, drop_identical=True)
    quick = check(source, layout, deep=False)
    assert quick.inventory is not None
    # A header does not show pixels: without a deep verification only equal bytes are found.
    assert quick.inventory.total == 8
    result = check(source, layout)
    assert result.inventory is not None
    assert result.inventory.total == 4
    assert result.state == "faulty"
    assert result.inventory.unreadable == 2
    assert "2 pairs have an image that cannot be used" in result.todo[-1]
    found = reasons(layout)
    assert found["lq/wrong.png"].startswith("wrong partner: the LQ does not show what the GT shows")
    assert found["lq/flat.png"] == "the LQ cannot be used: all its pixels are equal"
    assert found["lq/same.png"].startswith("identical")
    assert found["lq/cut.png"].startswith("the LQ cannot be used: is cut short or no image")
    assert result.warnings == {"shifted": 1}
    assert "9.0 pixels" in result.warning_examples["shifted"]
    # Without `drop_identical` in the rule, an identical pair is used, with a warning.
    source = replace(source, pairs=(replace(source.pairs[0], drop_identical=False),))
    assert check(source, layout).warnings == {"shifted": 1, "identical": 1}


def test_a_file_left_out_on_purpose_is_not_unreadable_however_its_reason_ends(tmp_path: Path) -> None:
    make_pair(tmp_path / "mine", "good", hazy(scene(7)), scene(7))
    make_pair(tmp_path / "mine", "odd", hazy(scene(8)), scene(8))
    source, layout = local(tmp_path, exclude=(Exclude("**/odd.png", "its licence says that it cannot be used"),))
    result = check(source, layout)
    assert result.inventory is not None
    assert result.inventory.left_out == {"its licence says that it cannot be used": 2}
    assert (result.inventory.unreadable, result.state, result.todo) == (0, "good", ())


def test_a_fast_verification_keeps_the_results_of_a_deep_one(tmp_path: Path) -> None:
    make_pair(tmp_path / "mine", "wrong", hazy(scene(7)), scene(8))
    make_pair(tmp_path / "mine", "good", hazy(scene(7)), scene(7))
    source, layout = local(tmp_path)
    check(source, layout)
    check(source, layout, deep=False)
    assert list(reasons(layout)) == ["lq/wrong.png"]


def test_a_second_run_checks_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        make_pair(tmp_path / "mine", str(i), hazy(scene(i)), scene(i))
    source, layout = local(tmp_path)
    looked: list[str] = []

    def watching(groups: Iterable[Group], jobs: int) -> Iterator[Seen]:
        for group in groups:
            looked.extend((group.gt, *group.lqs))
            yield inspect_group(group)

    monkeypatch.setattr(verify_module, "inspect_limited", watching)
    check(source, layout)
    assert len(looked) == 8
    table = layout.pairs("mine").read_bytes()
    looked.clear()
    check(source, layout)
    assert looked == []
    assert layout.pairs("mine").read_bytes() == table
    # Touched, with the same bytes: nothing to do. Other bytes: that pair alone.
    os.utime(tmp_path / "mine/lq/1.png", (1, 1))
    check(source, layout)
    assert looked == []
    write_png(tmp_path / "mine/lq/2.png", hazy(scene(50)))
    assert check(source, layout).inventory.left_out == {"wrong partner": 1}  # type: ignore[union-attr]
    assert looked == ["gt/2.png", "lq/2.png"]


def test_a_run_that_is_stopped_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        make_pair(tmp_path / "mine", f"{i:02d}", hazy(scene(i, 64, 64)), scene(i, 64, 64))
    source, layout = local(tmp_path)
    looked = 0

    def stopping(groups: Iterable[Group], jobs: int) -> Iterator[Seen]:
        nonlocal looked
        for group in groups:
            looked += 1
            if looked == 9:
                raise KeyboardInterrupt
            yield inspect_group(group)

    monkeypatch.setattr(verify_module, "inspect_limited", stopping)
    with pytest.raises(KeyboardInterrupt):
        check(source, layout)
    looked = 20
    assert check(source, layout).inventory.total == 20  # type: ignore[union-attr]
    # Eight were done before the stop.
    assert looked == 20 + 12


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for i in range(20):
        make_pair(tmp_path / "mine", f"{i:02d}", hazy(scene(i + (i == 5))), scene(i))
    source, layout = local(tmp_path)
    one = check(source, layout)
    table = layout.pairs("mine").read_bytes()
    (layout.source("mine") / ".uir/checks.jsonl").unlink()
    assert check(source, layout, jobs=2) == one
    assert layout.pairs("mine").read_bytes() == table
    assert list(reasons(layout)) == ["lq/05.png"]


def published(tmp_path: Path, pruned: bool = False, ending: str = "png") -> tuple[Source, Layout]:
    """Fetch a source that is published as a zip."""
    files = {}
    for i in range(3):
        encoded = cv2.imencode(f".{ending}", synthetic_image(20, 24, i))[1].tobytes()
        files |= {f"{side}/{i}.{ending}": encoded for side in ("lq", "gt")}
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "s.zip").write_bytes(zipped(files))
    source = Source(
        id="s",
        title="t",
        licence="l",
        files=(RemoteFile("s.zip", (Mirror("manual", "https://x.example", "official", "by-hand"),), archive="zip"),),
        pairs=(replace(RULE, gt=f"gt/{{n}}.{ending}", lq=f"lq/{{n}}.{ending}"),),
        known_defects=("one pair is missing",),
        feeds=(Feed(row="haze", pairs=72030, how="all"),),
    )
    layout = Layout(tmp_path / "root")
    report = fetch(plan_fetch([source], layout, from_dir=mine), jobs=1, progress=Silent(), prune=pruned)
    assert report.is_complete
    return source, layout


def test_found_counts_are_reported_with_published_and_paper_counts(tmp_path: Path) -> None:
    result = check(*published(tmp_path), deep=False)
    assert result.state == "good"
    assert result.files_ok == 7
    assert result.inventory is not None
    assert dict(result.inventory.found) == {("train", "haze", False): 3}
    assert dict(result.published) == {("train", "haze", False): 5}
    assert [(feed.row, feed.pairs) for feed in result.paper] == [("haze", 72030)]
    assert result.known_defects == ("one pair is missing",)


def test_changed_and_missing_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    source, layout = published(tmp_path, pruned=True)
    root = layout.source("s")
    (root / "gt/1.png").unlink()
    data = (root / "gt/2.png").read_bytes()
    (root / "gt/2.png").write_bytes(data[:-1] + b"!")
    (root / "lq/0.png").write_bytes(b"short")
    result = check(source, layout, deep=False)
    assert result.state == "faulty"
    assert [(fault.path, fault.reason) for fault in result.missing] == [
        (str(root / "gt/1.png"), "it was unpacked from an archive and is missing")
    ]
    assert sorted(fault.path for fault in result.changed) == [str(root / "gt/2.png"), str(root / "lq/0.png")]
    assert any("delete the changed files" in todo and "uir fetch s" in todo for todo in result.todo)


def test_bytes_that_decay_at_the_same_size_and_time_are_found_by_a_deep_verification(tmp_path: Path) -> None:
    source, layout = published(tmp_path, ending="bmp")
    path = layout.source("s") / "gt/1.bmp"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert check(source, layout, deep=False).state == "good"
    assert [fault.path for fault in check(source, layout).changed] == [str(path)]


def test_a_touched_file_is_hashed_once_and_is_good_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, layout = published(tmp_path)
    os.utime(layout.source("s") / "gt/1.png", (5, 5))
    os.utime(layout.downloads("s") / "s.zip", (5, 5))
    hashed: list[Path] = []
    real = byte_checks.hash_file

    def watching(path: Path, **options: bool) -> tuple[str, str]:
        hashed.append(path)
        return real(path, **options)

    monkeypatch.setattr(byte_checks, "hash_file", watching)
    assert check(source, layout, deep=False).state == "good"
    assert hashed == [layout.downloads("s") / "s.zip", layout.source("s") / "gt/1.png"]
    hashed.clear()
    assert check(source, layout, deep=False).state == "good"
    assert hashed == []


def test_a_source_that_was_not_fetched_is_absent_with_the_command_to_run(tmp_path: Path) -> None:
    source, _ = published(tmp_path)
    result = check(source, Layout(tmp_path / "other"), deep=False)
    assert (result.state, result.todo) == ("absent", ("uir fetch s",))
    assert verify([source], Layout(tmp_path / "other"), deep=False, jobs=1, progress=Silent()).is_good


def test_the_lines_to_pin_are_those_that_the_manifest_lacks(tmp_path: Path) -> None:
    source, layout = published(tmp_path)
    lines = pin_lines(source, layout)
    assert lines[:2] == ("[[files]]", 'name = "s.zip"')
    size, sha256 = lines[2].removeprefix("size = "), lines[3].removeprefix('sha256 = "').removesuffix('"')
    pinned = replace(source, files=(replace(source.files[0], size=int(size), sha256=sha256),))
    assert pin_lines(pinned, layout) == ()


@pytest.mark.parametrize("dx", [0, 5, 12])
def test_a_shift_is_measured_to_a_tenth_of_a_pixel(dx: int) -> None:
    image = cv2.cvtColor(scene(3, 128, 160), cv2.COLOR_RGB2GRAY).astype(np.float32)
    moved = np.roll(image, dx, axis=1)
    shift, response = registration(image, moved)
    assert shift == pytest.approx(dx, abs=0.1)
    assert response > 0.5


@pytest.mark.parametrize("sigma", [0, 25, 50])
def test_noise_and_darkness_do_not_make_a_wrong_partner(sigma: int) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    for seed in range(4):
        gt = scene(seed)
        lq = to_uint8(gt * 0.3 + rng.normal(0, sigma, gt.shape))
        other = scene(seed + 100)
        gray, dark, wrong = (cv2.cvtColor(i, cv2.COLOR_RGB2GRAY).astype(np.float32) for i in (gt, lq, other))
        assert likeness(gray, dark) > WRONG_PARTNER + 0.1 or clarity(dark) < 4
        assert likeness(wrong, dark) < WRONG_PARTNER
        assert sigma or clarity(dark) > 4


def test_a_read_only_disk_does_not_prevent_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "mine"
    for name in "abc":
        make_pair(root, name, hazy(scene(ord(name))), scene(ord(name)))
    source, layout = local(tmp_path)
    right = check(source, layout)
    (layout.source("mine") / ".uir/checks.jsonl").unlink()
    layout.pairs("mine").unlink()
    # Folders at the paths of files: not even root can write there.
    (layout.source("mine") / ".uir/checks.jsonl").mkdir()
    layout.pairs("mine").mkdir()
    found = check(source, layout)
    assert (found.state, found.inventory) == ("good", right.inventory)
    assert found.todo[0].endswith("The results shown are valid, but were not stored")
    (root / "lq/b.png").write_bytes(b"torn")
    assert check(source, layout).state == "faulty"


def test_a_touched_download_on_a_disk_that_cannot_be_written_is_hashed_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "given/a.zip"
    packed.parent.mkdir()
    packed.write_bytes(zipped({f"{side}/{n}.png": image_bytes(n) for side in ("lq", "gt") for n in range(2)}))
    mirror = Mirror("manual", "https://example.org", "official")
    source = Source("packed", "t", "l", (RemoteFile("a.zip", (mirror,), archive="zip"),), (RULE,))
    layout = Layout(tmp_path / "root")
    fetch(plan_fetch([source], layout, from_dir=packed.parent), jobs=1, progress=Silent())
    os.utime(layout.downloads("packed") / "a.zip", (1, 1))
    notes: list[str] = []

    class Notes(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    def refuse(*_: object) -> None:
        raise StorageError("receipts.json: cannot be written: Read-only file system")

    monkeypatch.setattr("uirdata.storage.transfers.receipts.Receipts._write", refuse)
    (found,) = verify([source], layout, deep=False, jobs=1, progress=Notes()).sources
    assert found.state == "good"
    assert len(notes) == 1
    assert "Results are not stored" in notes[0]
