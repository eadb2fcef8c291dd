"""Every source in its published layout, from a folder of the user to pairs.parquet."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from tests.conftest import synthetic_image
from tests.uirdata.pipeline.fetching.archived import tarred, zipped
from uirdata.layout import Layout
from uirdata.pipeline.fetching.completeness import adopted_state
from uirdata.pipeline.fetching.fetch import fetch, plan_fetch
from uirdata.pipeline.verifying.verify import verify
from uirdata.progress import Silent
from uirdata.sources import RemoteFile, Source, load_sources
from uirdata.storage.tables import read_table

SOURCES = load_sources()
WITH_RULES = [name for name, source in SOURCES.items() if source.pairs]


def image_bytes(path: str, height: int, width: int) -> bytes:
    """Return an image file in the format of its name."""
    seed = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "little")
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF"}.get(path.rpartition(".")[2].lower())
    Image.fromarray(synthetic_image(height, width, seed)).save(buffer, kind or path.rpartition(".")[2].upper())
    return buffer.getvalue()


LAYOUTS = sorted({(name, rule.layout) for name in WITH_RULES if name != "sample" for rule in SOURCES[name].pairs})


def example_tree(source: Source, layout: str = "") -> tuple[dict[str, bytes], set[tuple[str, str]]]:
    """Return the files of the examples of a source's rules for one layout, and their pairs."""
    files: dict[str, bytes] = {}
    expected: set[tuple[str, str]] = set()
    for rule in source.pairs:
        assert rule.example is not None, f"{source.id} has a rule without an example"
        if rule.layout != layout:
            continue
        for pair in rule.example.pairs:
            expected.add((pair.lq, pair.gt))
            border = 2 * rule.gt_border
            if pair.lq:
                files[pair.lq] = image_bytes(pair.lq, 24, 32)
            if pair.gt:
                files[pair.gt] = image_bytes(pair.gt, 24 + border, 32 + border)
        for path in rule.example.left_out:
            files.setdefault(path, image_bytes(path, 24, 32))
        for path, text in rule.example.lists.items():
            files[path] = text.encode()
    return files, expected


def unpinned(source: Source) -> Source:
    """Return the source without hashes, sizes and counts, for files that are not the published ones."""
    rules = tuple(replace(rule, published=None) for rule in source.pairs)
    files = tuple(replace(file, sha256="", md5="", size=None) for file in source.files)
    return replace(source, files=files, pairs=rules, alternatives=())


def packable(source: Source) -> bool:
    return all(file.archive in ("zip", "tar", "folder", "") and not file.part_of for file in source.files)


def write_downloads(source: Source, files: dict[str, bytes], mine: Path) -> None:
    """Pack a tree like the archives of the source."""
    contents: dict[str, dict[str, bytes]] = {file.name: {} for file in source.files}
    for path, data in files.items():
        file = home_of(source, path)
        contents[file.name][path.removeprefix(file.unpack_to.rstrip("/") + "/") if file.unpack_to else path] = data
    for file in source.files:
        held = contents[file.name]
        target = mine / "some" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.archive == "zip":
            target.write_bytes(zipped(held))
        elif file.archive == "tar":
            target.write_bytes(tarred(held))
        elif file.archive == "folder":
            for path, data in (held or {"README.txt": b"nothing for these rules"}).items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(data)
        else:
            target.write_bytes(next(iter(held.values()), b"a file of no example"))


def home_of(source: Source, path: str) -> RemoteFile:
    """Return the file that a path of the tree would come from."""
    for file in source.files:
        if not file.archive and PurePosixPath(file.name).name == PurePosixPath(path).name:
            return file
    packed = [file for file in source.files if file.archive]
    below = [file for file in packed if file.unpack_to and path.startswith(file.unpack_to.rstrip("/") + "/")]
    return max(below, key=lambda file: len(file.unpack_to)) if below else next(f for f in packed if not f.unpack_to)


def bring(source: Source, mine: Path, root: Path, expected: set[tuple[str, str]]) -> None:
    layout = Layout(root)
    report = fetch(plan_fetch([source], layout, from_dir=mine), jobs=2, progress=Silent())
    assert report.is_complete, report
    result = verify([source], layout, deep=False, jobs=1, progress=Silent()).sources[0]
    rows = read_table(layout.pairs(source.id)).to_pylist()
    # Some examples have a file without its partner, which is a fault in a folder, and was published so in an archive.
    alone = any(row["reason"].startswith(("no GT", "no LQ belongs")) for row in rows)
    assert result.state == ("faulty" if alone and adopted_state(source, layout) else "good"), result
    assert {(row["lq"], row["gt"]) for row in rows if row["ok"]} == expected
    assert all(row["reason"] for row in rows if not row["ok"])


@pytest.mark.parametrize(("name", "tree"), LAYOUTS)
def test_a_tree_in_each_layout_becomes_pairs(name: str, tree: str, tmp_path: Path) -> None:
    source = unpinned(SOURCES[name])
    files, expected = example_tree(source, tree)
    for path, data in files.items():
        (tmp_path / "mine" / name / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name / path).write_bytes(data)
    bring(source, tmp_path / "mine", tmp_path / "root", expected)


@pytest.mark.parametrize("name", [name for name in WITH_RULES if packable(SOURCES[name]) and name != "sample"])
def test_archives_with_the_published_names_become_pairs(name: str, tmp_path: Path) -> None:
    source = unpinned(SOURCES[name])
    files, expected = example_tree(source)
    if any(f.unpack_to for f in source.files if f.archive) and all(f.unpack_to for f in source.files if f.archive):
        # Examples of other file sets are not in these archives.
        tops = tuple(f.unpack_to.rstrip("/") + "/" for f in source.files if f.archive)
        files = {path: data for path, data in files.items() if path.startswith(tops)}
        expected = {pair for pair in expected if all(not path or path in files for path in pair)}
    write_downloads(source, files, tmp_path / "mine")
    bring(source, tmp_path / "mine", tmp_path / "root", expected)
