"""A photograph that the user renames keeps its split: names decide splits, so its new name could decide otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from uirdata.errors import SourceError
from uirdata.layout import Layout
from uirdata.manifest_syntax.pair_rules import Split
from uirdata.pairing import Pair, Pairing
from uirdata.sources import Source
from uirdata.storage.checks import Checks
from uirdata.storage.files import storage_error
from uirdata.storage.shards import write_json
from uirdata.storage.tables import read_table
from uirdata.validators import json_object, load_json, naming, one_of

_SPLITS: Mapping[str, Split] = {"train": "train", "val": "val", "test": "test"}


def with_kept_splits(source: Source, layout: Layout, pairing: Pairing) -> Pairing:
    """Return a pairing in which renamed scenes have the splits that they had under their earlier names."""
    if not _draws_splits(source) or not (kept := _kept(_path(layout, source))):
        return pairing
    return replace(pairing, pairs=tuple(_moved(pair, kept) for pair in pairing.pairs))


def keep_splits_of_renamed(source: Source, layout: Layout, pairing: Pairing, root: Path, checks: Checks) -> Pairing:
    """
    Find the images that were renamed since the last inventory, and return the pairing with the splits that they had.

    A file that is new, and has size and modification time of one that is gone, is that one.

    Args:
        source: a folder of the user.
        layout: the folders of the root.
        pairing: of its files.
        root: folder of its files.
        checks: the results for its files as they were.

    Raises:
        StorageError: the splits cannot be written.
        ShardError: the earlier pairs.parquet is broken.
    """
    if not _draws_splits(source) or not layout.pairs(source.id).exists():
        return pairing
    table = read_table(layout.pairs(source.id), ["gt", "split"])
    before = {gt: split for gt, split in zip(table["gt"].to_pylist(), table["split"].to_pylist(), strict=True) if split}
    now = {pair.gt for pair in pairing.pairs}
    gone: dict[tuple[int, int], list[str]] = {}
    for path in before.keys() - now:
        if (check := checks.file(path)) is not None:
            gone.setdefault((check.size, check.mtime_ns), []).append(path)
    if not gone:
        return pairing
    kept = _kept(_path(layout, source))
    for pair in pairing.pairs:
        if pair.gt in before:
            continue
        try:
            stat = (root / pair.gt).stat()
        except OSError:
            continue
        earlier = gone.get((stat.st_size, stat.st_mtime_ns), [])
        if len({before[path] for path in earlier}) == 1 and before[earlier[0]] != pair.split:
            kept[pair.scene] = _SPLITS[before[earlier[0]]]
    if kept:
        write_json(_path(layout, source), kept)
    return with_kept_splits(source, layout, pairing)


def _draws_splits(source: Source) -> bool:
    return source.local_dir is not None and any(rule.test_share for rule in source.pairs)


def _path(layout: Layout, source: Source) -> Path:
    return layout.source(source.id) / ".uir" / "splits.json"


def _kept(path: Path) -> dict[str, Split]:
    try:
        with naming(SourceError, str(path), "it has the splits of renamed photographs; restore it, or delete it"):
            rows = json_object(load_json(path.read_bytes()))
            return {scene: _SPLITS[one_of(split, _SPLITS)] for scene, split in rows.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error(path, error) from error


def _moved(pair: Pair, kept: Mapping[str, Split]) -> Pair:
    split = kept.get(pair.scene)
    return pair if split is None else replace(pair, split=split)
