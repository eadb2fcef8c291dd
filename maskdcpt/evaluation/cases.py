"""The cases of an evaluation: samples of shards, or the test sets of a bench as they were published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskdcpt.data.samples import Samples
from maskdcpt.evaluation.test_sets import GaussianNoise, Made, TestSet
from maskdcpt.images import Image
from uirdata import degrade, load_sources, sample_recipe
from uirdata.errors import PairError, SourceError
from uirdata.images import RgbImage, read_image
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_reader import source_folders
from uirdata.planning import FoundPair
from uirdata.seeding import rng_for
from uirdata.sources import Source
from uirdata.storage.pair_tables import read_found


@dataclass(frozen=True, eq=False)
class Loaded:
    """The pixels of a case; `gt` is None where there is no GT."""

    lq: Image
    gt: RgbImage | None


@dataclass(frozen=True)
class Case:
    """
    One image to restore and to score.

    Attributes:
        key: unique in its evaluation.
        test_set: name of the test set; "" for a sample of shards.
        degradation: of the LQ.
        level: of the degradation.
        source: id of the source.
        scene: name of the scene; images of one scene are not independent.
        load: reads the pixels; raises ImageError, PairError or ShardError where they cannot be read.
    """

    key: str
    test_set: str
    degradation: str
    level: str
    source: str
    scene: str
    load: Callable[[], Loaded]


def sample_cases(samples: Samples, limit: int) -> list[Case]:
    """Return the samples of shards as cases, of each degradation the first `limit`; 0 takes all."""
    taken: dict[str, int] = {}
    cases = []
    records: Sequence[Any] = getattr(samples, "records", ())
    for index, kind in enumerate(samples.degradations):
        name = str(kind)
        taken[name] = taken.get(name, 0) + 1
        if limit and taken[name] > limit:
            continue
        record = records[index] if len(records) else None
        key = str(getattr(record, "key", index))
        cases.append(
            Case(
                key=key,
                test_set="",
                degradation=name,
                level=getattr(record, "level", ""),
                source=getattr(record, "source", ""),
                scene=getattr(record, "scene", "") or key,
                load=_SampleLoader(samples, index),
            )
        )
    return cases


@dataclass(frozen=True)
class _SampleLoader:
    samples: Samples
    index: int

    def __call__(self) -> Loaded:
        item = self.samples[self.index]
        return Loaded(item.lq, item.gt)


def set_cases(
    test_set: TestSet,
    layout: Layout,
    *,
    limit: int = 0,
    swapped_mosaic: bool = False,
    sources: Mapping[str, Source] | None = None,
) -> list[Case]:
    """
    Return the images of a test set as cases, from the folder in which `uir fetch` stored its source.

    Args:
        test_set: the test set.
        layout: of the root.
        limit: number of images, the first by name; 0 takes all.
        swapped_mosaic: exchange red and blue of a mosaic's LQ, as the published test does.
        sources: all sources, by id; read here when None.

    Raises:
        SourceError: the source is not downloaded, or holds no image of the test set.
    """
    found = read_found(layout, test_set.source)
    if found is None:
        raise SourceError(f"{test_set.source} is not downloaded; `uir fetch {test_set.source}` downloads it")
    pairs = [item for item in found if _belongs(item, test_set)]
    if not pairs:
        raise SourceError(
            f"{test_set.source} has no image of {test_set.name}; `uir verify {test_set.source}` lists what it has"
        )
    folder = source_folders(sources or load_sources(), layout, [test_set.source])[test_set.source]
    cases = []
    # Sorted by name: the order of files in a folder differs between disks.
    for item in sorted(pairs, key=lambda item: item.pair.lq or item.pair.gt)[: limit or None]:
        pair = item.pair
        name = pair.lq or pair.gt
        cases.append(
            Case(
                key=f"{test_set.name}/{name}",
                test_set=test_set.name,
                degradation=test_set.degradation,
                level=test_set.level or pair.level or level_of(test_set),
                source=test_set.source,
                scene=pair.scene,
                load=_PairLoader(test_set, folder, item, swapped_mosaic),
            )
        )
    return cases


def level_of(test_set: TestSet) -> str:
    """Return the level of a synthetic LQ; "" for published pairs."""
    if isinstance(test_set.made, GaussianNoise):
        return f"gaussian-{test_set.made.sigma:g}"
    return test_set.made.level if isinstance(test_set.made, Made) else ""


def noisy(gt: RgbImage, noise: GaussianNoise) -> NDArray[np.float32]:
    """Return a GT with noise as in the published test files: float64 draws, clipped to 0..1, not rounded."""
    # The legacy generator on purpose: the published scores depend on its random stream.
    draws = np.random.RandomState(noise.seed).normal(0, noise.sigma / 255, gt.shape)
    return np.clip(gt.astype(np.float32) / 255 + draws, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class _PairLoader:
    test_set: TestSet
    folder: Path
    item: FoundPair
    swapped_mosaic: bool

    def __call__(self) -> Loaded:
        pair, made = self.item.pair, self.test_set.made
        if not self.test_set.reference:
            return Loaded(read_image(self.folder / pair.lq), None)
        gt = read_image(self.folder / pair.gt)
        if pair.gt_border:
            gt = gt[pair.gt_border : -pair.gt_border, pair.gt_border : -pair.gt_border]
        if isinstance(made, GaussianNoise):
            return Loaded(noisy(gt, made), gt)
        if made is not None:
            rng = rng_for(0, f"{pair.source}/{pair.gt}", f"bench {made.level}")
            lq = degrade(gt, sample_recipe(self.test_set.degradation, rng, made.level))
            if self.swapped_mosaic and self.test_set.degradation == "mosaic":
                lq = np.ascontiguousarray(lq[:, :, ::-1])
            return Loaded(lq, gt)
        lq = read_image(self.folder / pair.lq)
        if lq.shape != gt.shape:
            raise PairError(
                f"{pair.source}/{pair.lq} has {lq.shape[1]} x {lq.shape[0]} pixels, its GT {pair.gt} "
                f"{gt.shape[1]} x {gt.shape[0]}; `uir verify {pair.source}` skips such pairs"
            )
        return Loaded(lq, gt)


def _belongs(item: FoundPair, test_set: TestSet) -> bool:
    pair = item.pair
    if pair.split != test_set.split or (test_set.level and pair.level != test_set.level):
        return False
    if test_set.made is not None:
        # GT images: no LQ is published with them.
        return not pair.lq
    return pair.degradation == test_set.degradation and bool(pair.lq) and bool(pair.gt) == test_set.reference


def found_sets(
    sets: Sequence[TestSet], layout: Layout, *, manifests: Sequence[Path] = (), **choices: Any
) -> tuple[dict[str, list[Case]], Mapping[str, str]]:
    """Return the cases of test sets, and for the others why they are missing. Arguments as in `set_cases`."""
    sources = load_sources(list(manifests))
    cases: dict[str, list[Case]] = {}
    missing: dict[str, str] = {}
    for test_set in sets:
        try:
            cases[test_set.name] = set_cases(test_set, layout, sources=sources, **choices)
        except SourceError as error:
            missing[test_set.name] = str(error)
    return cases, missing
