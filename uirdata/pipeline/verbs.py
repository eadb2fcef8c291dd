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
    prune: bool = False,
    limit_bytes_per_s: float | None = None,
    accept_changed: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> FetchReport:
    """
    Download, check and unpack sources, and find their pairs: `uir fetch`.

    What is here already is not fetched again. What went wrong with a source stands in the report, and is no exception.

    >>> import uirdata
    >>> report = uirdata.fetch(subset="sample", root=root)
    >>> [(source.id, source.state, source.inventory.total) for source in report.sources]
    [('sample', 'done', 12)]

    Args:
        ids: of sources; or one new id, for the folder of your own at `from_dir`.
        subset: whose sources are wanted, too.
        root: of the data; UIR_ROOT, else ./uir-data, when None.
        from_dir: files that you have: downloads made by hand, or your own images.
        own: what is known of a folder of your own.
        alternative: name of the file set to take where a source has it.
        prune: remove archives once they are unpacked.
        limit_bytes_per_s: cap over all files.
        accept_changed: take files that differ from their first download.
        jobs: files at once; as many as there are cores when None.
        progress: is told how far it is.

    Raises:
        UsageError: neither ids nor a subset is given, or one is not known.
        StorageError: the disk is too small; nothing was fetched.
    """
    plan = plan_wanted(
        layout_of(root),
        _several(ids),
        subset,
        from_dir=None if from_dir is None else Path(from_dir),
        own=own,
        alternative=alternative,
    )
    return run_fetch(
        plan,
        jobs=jobs or os.cpu_count() or 1,
        progress=progress or Silent(),
        prune=prune,
        limit_bytes_per_s=limit_bytes_per_s,
        accept_changed=accept_changed,
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
    Check bytes, archives and pairs, and write pairs.parquet anew: `uir verify`.

    >>> import uirdata
    >>> uirdata.verify("my-photos", root=root).is_good
    True

    Args:
        ids: of sources; without them and without a subset, all that have been fetched.
        subset: whose sources are wanted, too.
        root: as in `fetch`.
        deep: decode every image, and compare every LQ with its GT.
        jobs: processes; a script that asks for more than one needs `if __name__ == "__main__":`.
        progress: is told how far it is.

    Raises:
        UsageError: an id or the subset is not known.
        SourceError: nothing is named, and nothing has been fetched.
    """
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
    screen: bool = False,
) -> Plan:
    """
    Plan the samples that `build` would make; nothing is written, and no pixel is read.

    Crops that screening leaves out are not in it, as far as they have been screened.

    >>> import uirdata
    >>> first = next(uirdata.plan("my-photos", root=root, size=64).samples())
    >>> first.split, first.degradation, first.source
    ('train', 'blur-jpeg', 'my-photos')

    Args:
        ids: of sources; with a subset, those of its sources that are wanted; with neither, all that have been fetched.
        subset: or its name.
        root: as in `fetch`.
        size: of training crops, in pixels; None leaves it to the subset and the sources.
        stride: from crop to crop; half a crop when None and a size is given.
        seed: of levels and recipes.
        variant: `clean` leaves out training scenes that are known to lie in a benchmark.
        screen: leave out crops whose GT is flat, blurred or dark, and clean ones that are there twice.

    Raises:
        UsageError: an id, the subset or the variant is not known.
        SourceError: none of the sources is there.
    """
    layout = layout_of(root)
    planned = plan_subset(layout, _several(ids), subset, size=size, stride=stride, seed=seed, variant=variant)
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
    Crop, degrade and write what has been fetched as WebDataset shards: `uir build-shards`.

    Adds to a folder of shards and rewrites nothing that is whole there; started again, it does what is left. Samples
    that cannot be made and sources that are not there stand in the result, and are no exception.

    >>> import uirdata
    >>> result = uirdata.build("my-photos", root=root, size=64, codec="png")
    >>> result.complete, result.samples == len(uirdata.open_shards(result.place))
    (True, True)

    Args:
        ids: as in `plan`.
        subset: as in `plan`.
        root: as in `fetch`.
        out: the shard folder, or an address in object storage; ROOT/shards when None.
        size: as in `plan`.
        stride: as in `plan`.
        seed: as in `plan`.
        variant: as in `plan`.
        screen: as in `plan`.
        codec: webp or png; both are lossless.
        lazy: keep recipes instead of the LQ that are made; readers make them.
        shard_bytes: about how large a tar becomes.
        task: build only the first of so many parts, counted from 1: (3, 16).
        retry_rejected: build again the shards that had to leave samples out.
        discard: delete what another unfinished build left in the folder.
        engine: local, or a Ray cluster.
        workers: processes; a script that asks for more than one needs `if __name__ == "__main__":`.
        progress: is told of images and samples.

    Raises:
        UsageError: an id, the subset or a choice is not known.
        SourceError: none of the sources is there.
        ShardError: the folder holds shards of other settings, or another build is at work there.
        StorageError: the disk is full or the folder cannot be written; finished shards stay.
    """
    for what, choice, choices in (("codec", codec, CODECS), ("engine", engine, ("local", "ray"))):
        if choice not in choices:
            raise UsageError(f"there is no {what} {choice!r}: {nearest(choice, choices)}")
    layout = layout_of(root)
    pool = open_object_pool(str(out), layout) if out is not None and is_remote(out) else None
    folder = pool.folder if pool is not None else Path(out) if out is not None else layout.shards
    planned = plan_subset(layout, _several(ids), subset, size=size, stride=stride, seed=seed, variant=variant)
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
    What came of a push.

    Attributes:
        link: to the repository.
        commit: that holds the shards.
        sent: files that were not there.
        sent_bytes: of these.
        deleted: files taken away.
        wrong: files whose bytes differ there, a line each; None where they were not compared.
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
        folder: of shards; ROOT/shards when None.
        root: as in `fetch`.
        private: make the repository private, where it is not there yet.
        recipes_only: publish manifests and recipes, no pixels.
        tables: publish each shard as a table, too, which `load_dataset` reads.
        verify: afterwards compare every file's hash with the one that the Hub has.
        replace: replace shards that differ there, and take away those that are not here.
        revision: the branch to publish to.
        token: instead of HF_TOKEN and the login of `hf auth login`.
        progress: is told of bytes.

    Raises:
        UsageError: it is no name of a repository.
        ShardError: it is no folder of shards.
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


def _several(ids: Ids) -> tuple[str, ...]:
    return (ids,) if isinstance(ids, str) else tuple(ids)


__all__ = ["BuildResult", "OwnFolder", "PushResult", "build", "fetch", "plan", "push", "verify"]
