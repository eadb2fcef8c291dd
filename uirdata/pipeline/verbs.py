"""The commands `uir fetch`, `verify`, `build-shards` and `push-hf` as functions: plain values in, results out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uirdata.errors import UsageError, nearest
from uirdata.hosts.repository import Repository, repository_name
from uirdata.images import CODECS, Codec
from uirdata.pipeline.building.build_plan import BuildSettings, Slice
from uirdata.pipeline.building.engines import Engine, LocalEngine, RayEngine
from uirdata.pipeline.building.narrowed import Narrowing
from uirdata.pipeline.building.object_pool import open_object_pool
from uirdata.pipeline.building.sample_plan import Plan
from uirdata.pipeline.building.screen import plan_with_known_scores
from uirdata.pipeline.building.subset_build import BuildResult, prepare_build, run_build
from uirdata.pipeline.building.subset_plan import Variant, plan_subset
from uirdata.pipeline.choosing import extra_manifests, fetched_sources, layout_of
from uirdata.pipeline.fetching.fetch import FetchReport
from uirdata.pipeline.fetching.fetch import fetch as run_fetch
from uirdata.pipeline.fetching.wanted import OwnFolder, plan_wanted
from uirdata.pipeline.opening import is_remote
from uirdata.pipeline.publishing.publication import describe
from uirdata.pipeline.publishing.push import prepare_push, verify_push
from uirdata.pipeline.publishing.push import push as run_push
from uirdata.pipeline.verifying.verify import VerifyReport
from uirdata.pipeline.verifying.verify import verify as run_verify
from uirdata.progress import Progress, Silent
from uirdata.subsets import Subset

MAX_SEED = 2**32 - 1
"""Largest seed of a build, of the commands and of the functions."""

Ids = str | Sequence[str]
"""The id of a source, or several."""


def fetch(
    ids: Ids = (),
    *,
    subset: str | Subset | None = None,
    root: str | Path | None = None,
    from_dir: str | Path | None = None,
    own: OwnFolder | None = None,
    alternative: str = "",
    fetch_missing: bool = False,
    prune: bool = False,
    limit_bytes_per_s: float | None = None,
    accept_changed: bool = False,
    ignore_estimates: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """
    Download, check and unpack sources, and find their pairs: `uir fetch`.

    Files that are present are not downloaded again. What failed for a source is in the report; it raises no exception.

    >>> import uirdata
    >>> report = uirdata.fetch(subset="sample", root=root)
    >>> [(source.id, source.state, source.inventory.total) for source in report.sources]
    [('sample', 'done', 12)]

    Args:
        ids: ids of sources; or one new id, for your own folder at `from_dir`.
        subset: a subset whose sources are fetched, too.
        root: the data folder; when None, UIR_ROOT, else ./uir-data.
        from_dir: a folder of files that you have: manual downloads, or your own images.
        own: the description of your own folder.
        alternative: name of the file set to use where a source has it.
        fetch_missing: download what is not in `from_dir`; with a `from_dir`, nothing is downloaded otherwise.
        prune: delete archives after they are unpacked.
        limit_bytes_per_s: rate limit over all files together.
        accept_changed: accept files that differ from their first download.
        ignore_estimates: start although files of unknown size may not fit on the disk.
        jobs: files downloaded at the same time; when None, the number of cores.
        progress: receives progress.

    Raises:
        UsageError: neither ids nor a subset is given, or one of them is unknown.
        StorageError: the disk is too small; nothing was downloaded.
    """
    _in_range(jobs=(jobs, 1, None))
    plan = plan_wanted(
        layout_of(root),
        _several(ids),
        subset,
        from_dir=None if from_dir is None else Path(from_dir),
        own=own,
        alternative=alternative,
        fetch_missing=fetch_missing,
    )
    return run_fetch(
        plan,
        jobs=jobs or os.cpu_count() or 1,
        progress=progress or Silent(),
        prune=prune,
        limit_bytes_per_s=limit_bytes_per_s,
        accept_changed=accept_changed,
        ignore_estimates=ignore_estimates,
    )


def verify(
    ids: Ids = (),
    *,
    subset: str | Subset | None = None,
    root: str | Path | None = None,
    deep: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> VerifyReport:
    """
    Check bytes, archives and pairs, and rewrite pairs.parquet: `uir verify`.

    >>> import uirdata
    >>> uirdata.verify("my-photos", root=root).is_good
    True

    Args:
        ids: ids of sources; without ids and without a subset, all sources that have been fetched.
        subset: a subset whose sources are verified, too.
        root: as in `fetch`.
        deep: decode every image, and compare every LQ with its GT.
        jobs: processes; a script that asks for more than one needs `if __name__ == "__main__":`.
        progress: receives progress.

    Raises:
        UsageError: an id or the subset is unknown.
        SourceError: neither ids nor a subset is given, and nothing has been fetched.
    """
    _in_range(jobs=(jobs, 1, None))
    chosen = fetched_sources(layout_of(root), _several(ids), subset)
    return run_verify(chosen, layout_of(root), deep=deep, jobs=jobs, progress=progress or Silent())


def plan(
    ids: Ids = (),
    *,
    subset: str | Subset | None = None,
    root: str | Path | None = None,
    size: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    variant: Variant = "paper",
    degradations: Sequence[str] = (),
    levels: Sequence[str] = (),
    per_image: int | None = None,
    screen: bool = False,
) -> Plan:
    """
    Plan the samples that `build` would make; no file is written, and no pixels are read.

    Crops that screening leaves out are not in the plan, if they have been screened already.

    >>> import uirdata
    >>> first = next(uirdata.plan("my-photos", root=root, size=64).samples())
    >>> first.split, first.degradation, first.source
    ('train', 'blur-jpeg', 'my-photos')

    Args:
        ids: ids of sources; with a subset, only these sources of it; with neither, all that have been fetched.
        subset: a subset or its name.
        root: as in `fetch`.
        size: side of the training crops in pixels; None uses the setting of the subset or of the source.
        stride: step between crops in pixels; half the size when None and a size is given.
        seed: seed of levels and recipes.
        variant: `clean` leaves out training scenes that are known to be in a benchmark.
        degradations: make only these degradations of the subset.
        levels: make only levels whose names fit one of these patterns, such as "gaussian-*".
        per_image: LQ that are made of each crop of a clean image; when None, that of the subset.
        screen: leave out crops whose GT is flat, blurred or dark, and duplicate crops of clean images.

    Raises:
        UsageError: an id, the subset or the variant is unknown.
        SourceError: none of the sources has been fetched.
    """
    _in_range(size=(size, 1, None), stride=(stride, 1, None), seed=(seed, 0, MAX_SEED))
    layout = layout_of(root)
    narrowing = Narrowing(tuple(degradations), tuple(levels), per_image)
    planned = plan_subset(
        layout, _several(ids), subset, size=size, stride=stride, seed=seed, variant=variant, narrowing=narrowing
    )
    return plan_with_known_scores(planned.plan, planned.sources, layout, screen=screen)[0]


def build(
    ids: Ids = (),
    *,
    subset: str | Subset | None = None,
    root: str | Path | None = None,
    out: str | Path | None = None,
    size: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    variant: Variant = "paper",
    degradations: Sequence[str] = (),
    levels: Sequence[str] = (),
    per_image: int | None = None,
    screen: bool = False,
    codec: Codec = "webp",
    lazy: bool = False,
    shard_bytes: int = 1_000_000_000,
    task: tuple[int, int] = (1, 1),
    retry_rejected: bool = False,
    discard: bool = False,
    engine: Literal["local", "ray"] = "local",
    workers: int = 1,
    progress: Progress | None = None,
) -> BuildResult:
    """
    Crop and degrade the fetched images, and write them as WebDataset shards: `uir build-shards`.

    Adds to a folder of shards and never rewrites a complete shard; started again, it builds what is missing. Samples
    that cannot be made and sources that are missing are listed in the result; they raise no exception.

    >>> import uirdata
    >>> result = uirdata.build("my-photos", root=root, size=64, codec="png")
    >>> result.complete, result.samples == len(uirdata.open_shards(result.place))
    (True, True)

    Args:
        ids: as in `plan`.
        subset: as in `plan`.
        root: as in `fetch`.
        out: the shard folder, or a URL in object storage; ROOT/shards when None.
        size: as in `plan`.
        stride: as in `plan`.
        seed: as in `plan`.
        variant: as in `plan`.
        degradations: make only these degradations of the subset.
        levels: make only levels whose names fit one of these patterns, such as "gaussian-*".
        per_image: LQ that are made of each crop of a clean image; when None, that of the subset.
        screen: as in `plan`.
        codec: webp or png; both are lossless.
        lazy: store recipes instead of generated LQ; readers generate the LQ.
        shard_bytes: approximate size of a tar in bytes.
        task: (I, N): build only part I of N, counted from 1, such as (3, 16).
        retry_rejected: rebuild the shards that left out samples that could not be made.
        discard: delete the shards of another, unfinished build in the folder.
        engine: `local` (processes of this machine) or `ray` (a Ray cluster).
        workers: processes; a script that asks for more than one needs `if __name__ == "__main__":`.
        progress: receives the images and samples that are done.

    Raises:
        UsageError: an id, the subset or the value of an option is unknown.
        SourceError: none of the sources has been fetched.
        ShardError: the folder holds shards with other settings, or another build is running in it.
        StorageError: the disk is full or the folder cannot be written; finished shards are kept.
    """
    for what, choice, choices in (("codec", codec, CODECS), ("engine", engine, ("local", "ray"))):
        if choice not in choices:
            raise UsageError(f"there is no {what} {choice!r}: {nearest(choice, choices)}")
    _in_range(size=(size, 1, None), stride=(stride, 1, None), seed=(seed, 0, MAX_SEED))
    _in_range(shard_bytes=(shard_bytes, 1, None), workers=(workers, 1, None))
    if len(task) != 2:
        raise UsageError(f"task is {task!r}; expected (I, N), such as (3, 16)")
    _in_range(task=(task[1], 1, None))
    _in_range(task=(task[0], 1, task[1]))
    layout = layout_of(root)
    if out == "":
        raise UsageError("out is empty; expected a folder of shards, or a URL")
    pool = open_object_pool(str(out), layout) if out is not None and is_remote(out) else None
    folder = pool.folder if pool is not None else Path(out) if out is not None else layout.shards
    narrowing = Narrowing(tuple(degradations), tuple(levels), per_image)
    planned = plan_subset(
        layout, _several(ids), subset, size=size, stride=stride, seed=seed, variant=variant, narrowing=narrowing
    )
    prepared = prepare_build(
        planned,
        layout,
        folder,
        BuildSettings(seed=seed, codec=codec, shard_bytes=shard_bytes, lazy=lazy),
        screen=screen,
        task=Slice(*task),
        retry_rejected=retry_rejected,
        workers=workers,
        progress=progress,
    )
    made_by: Engine = RayEngine() if engine == "ray" else LocalEngine(workers)
    return run_build(prepared, layout, engine=made_by, discard=discard, pool=pool, progress=progress)


@dataclass(frozen=True)
class PushResult:
    """
    The result of a push.

    Attributes:
        link: URL of the repository.
        commit: hash of the commit that holds the shards.
        sent: number of files that were uploaded.
        sent_bytes: their size in bytes.
        deleted: number of files that were deleted from the repository.
        wrong: one line for each file whose bytes differ on the Hub; None if they were not compared.
    """

    link: str
    commit: str
    sent: int
    sent_bytes: int
    deleted: int
    wrong: tuple[str, ...] | None


def push(
    repository: str,
    folder: str | Path | None = None,
    *,
    root: str | Path | None = None,
    private: bool = False,
    recipes_only: bool = False,
    tables: bool = True,
    verify: bool = False,
    replace: bool = False,
    revision: str = "main",
    token: str | None = None,
    progress: Progress | None = None,
) -> PushResult:
    """
    Publish a shard folder on the Hugging Face Hub, in one commit: `uir push-hf`.

    >>> import uirdata
    >>> uirdata.push("my shards", shards)
    Traceback (most recent call last):
    uirdata.errors.UsageError: 'my shards' is no repository; write it like owner/name

    Args:
        repository: owner/name.
        folder: the shard folder; ROOT/shards when None.
        root: as in `fetch`.
        private: make the repository private if it is created.
        recipes_only: publish manifests and recipes without pixels.
        tables: publish each shard also as a table, which `load_dataset` reads.
        verify: after the push, compare the hash of every file with the hash on the Hub.
        replace: replace shards that differ on the Hub, and delete those that are not in the folder.
        revision: the branch to commit to.
        token: access token; used instead of HF_TOKEN and of the login of `hf auth login`.
        progress: receives the bytes that are uploaded.

    Raises:
        UsageError: `repository` is not a valid name.
        ShardError: `folder` is not a shard folder.
        PublishError: a licence, the token or the Hub does not allow it; nothing was published.
    """
    name = repository_name(repository)
    layout = layout_of(root)
    place = layout.shards if folder is None else Path(folder)
    publication = describe(place, name, recipes_only=recipes_only, tables=tables, manifests=extra_manifests(layout))
    hub = Repository(name, branch=revision, token=token)
    plan = prepare_push(publication, hub, replace=replace)
    report = run_push(plan, hub, private=private, progress=progress)
    wrong = tuple(verify_push(publication, hub, progress=progress)) if verify else None
    return PushResult(hub.link, report.commit, report.sent, report.sent_bytes, report.deleted, wrong)


def _in_range(**numbers: tuple[int | None, int, int | None]) -> None:
    """Refuse what the commands refuse too: name to value, smallest and largest; None is left to its default."""
    for name, (value, least, most) in numbers.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and value >= least and (most is None or value <= most)):
            expected = f"at least {least}" if most is None else f"from {least} to {most}"
            raise UsageError(f"{name} is {value!r}; expected a whole number {expected}")


def _several(ids: Ids) -> tuple[str, ...]:
    return (ids,) if isinstance(ids, str) else tuple(ids)


__all__ = ["BuildResult", "OwnFolder", "PushResult", "build", "fetch", "plan", "push", "verify"]
