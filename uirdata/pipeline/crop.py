"""The plan of a build: from what was found on the disk to samples; and the crops themselves, for who wants files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import chain, groupby, islice
from pathlib import Path

import pyarrow as pa

from uirdata.degradations import Recipe, degrade, sample_recipe
from uirdata.errors import ImageError, PairError, SourceError, UirError, UsageError
from uirdata.images import RgbImage, encode_image, read_image
from uirdata.layout import Layout
from uirdata.overlaps import Overlap, overlapping_scenes
from uirdata.pairing import Pair
from uirdata.paper_table import account, load_paper_table
from uirdata.planning import CropSetting, FoundPair, Group, GroupPlan, PlannedSample
from uirdata.progress import Progress, Silent
from uirdata.seeding import rng_for
from uirdata.sources import Source
from uirdata.storage.tables import read_table, write_objects, writing
from uirdata.subsets import Subset, Use

DEFAULT_CROP = CropSetting(512, 256)
WHOLE = CropSetting(0, 0)

_ARROW_TYPES = {"str": pa.string(), "int": pa.int32(), "bool": pa.bool_()}
PLAN_SCHEMA = pa.schema([(field.name, _ARROW_TYPES[str(field.type)]) for field in fields(PlannedSample)])


@dataclass(frozen=True)
class Left:
    """A source that a plan could not use, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """
    Every sample of a build.

    Attributes:
        groups: sorted by split, degradation and source.
        seed: of levels and recipes.
        left: sources that are not there.
    """

    groups: tuple[Group, ...]
    seed: int
    left: tuple[Left, ...]

    def samples(self) -> Iterator[PlannedSample]:
        """Give every sample, group by group; made anew each time."""
        return chain.from_iterable(group.samples(self.seed) for group in self.groups)

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the sources that it reads."""
        return tuple(dict.fromkeys(group.group[2] for group in self.groups))


def make_plan(
    subset: Subset,
    sources: Mapping[str, Source],
    layout: Layout,
    *,
    crop: CropSetting | None = None,
    seed: int = 0,
    overlaps: Sequence[Overlap] = (),
    clean: bool = False,
    may_be_empty: bool = False,
) -> Plan:
    """
    Plan all samples of a subset from what was found on the disk.

    Training crops follow `crop`, else the subset's own setting, else the source's, else 512 at stride 256. Images of
    val and test stay whole unless the subset says otherwise. Sources that are not there are left out and named.

    Args:
        subset: what to build.
        sources: all sources, by id.
        layout: where they lie.
        crop: as the user asks; None leaves it to the subset and the sources.
        seed: of levels and recipes.
        overlaps: which training scenes benchmarks hold.
        clean: leave those scenes out.
        may_be_empty: give a plan without samples where no source is there.

    Raises:
        SourceError: none of the subset's sources is there.
        UsageError: the subset cuts one group in two ways.
    """
    found: dict[str, list[FoundPair] | None] = {}
    groups: dict[tuple[str, str, str], GroupPlan] = {}
    for use in subset.uses:
        if use.source not in found:
            found[use.source] = read_found(layout, use.source)
        pairs = found[use.source]
        if pairs is None:
            continue
        source = sources[use.source]
        group, setting = (use.split, use.degradation, use.source), crop_setting(use, source, crop)
        before = groups.get(group)
        if before is not None and before.crop != setting:
            raise UsageError(f"{subset.name} cuts {'/'.join(group)} in two ways: {before.crop} and {setting}")
        uses = (*before.uses, use) if before else (use,)
        held = scenes_held(source.id, pairs, overlaps, layout) if use.split == "train" else {}
        groups[group] = GroupPlan(group, uses, setting, pairs, source.licence, held, clean)
    left = tuple(
        Left(name, f"not fetched; `uir fetch {name}` brings it") for name, pairs in found.items() if pairs is None
    )
    if not any(found.values()) and not may_be_empty:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in left)
        raise SourceError(
            f"nothing to build for {subset.name}. {reasons or 'No usable pair was found: `uir verify` says why'}"
        )
    return Plan(tuple(groups[group] for group in sorted(groups)), seed, left)


def expected_samples(subset: Subset, source: Source) -> list[tuple[tuple[str, str, str], int | None]]:
    """
    Say what a source will give that is not here yet, from its manifest alone.

    Training pairs of a source that the paper cuts: as many as the paper's crops give. Else as many as its authors
    publish, times the variants that are made of each image. None where nobody says.
    """
    rows = account(load_paper_table(), {source.id: source})
    fed: dict[str, int | None] = {}
    for row in rows:
        for _, feed in row.parts:
            before = fed.get(row.row.degradation, 0)
            fed[row.row.degradation] = None if feed.pairs is None or before is None else before + feed.pairs
    published = source.published()
    expected: dict[tuple[str, str, str], int | None] = {}
    for use in subset.uses:
        if use.source != source.id:
            continue
        group = (use.split, use.degradation, use.source)
        pairs = [n for (split, kind, _), n in published.items() if split == use.split and kind in ("", use.degradation)]
        number = sum(pairs) * use.per_image if pairs else None
        if use.split == "train" and source.crop is not None and fed.get(use.degradation) is not None:
            number = fed[use.degradation]
        expected[group] = number
    return list(expected.items())


def scenes_held(source: str, found: Sequence[FoundPair], overlaps: Sequence[Overlap], layout: Layout) -> dict[str, str]:
    """
    Say which training scenes of a source lie in benchmarks: scene to their names, joined by commas.

    Lists that name scenes are followed always; those that speak of equal names, where the benchmark was fetched too.
    """
    wanted = {o.benchmark for o in overlaps if o.source == source and o.kind == "equal-scene"}
    theirs = {name: {item.pair.scene for item in read_found(layout, name) or []} for name in wanted}
    scenes = [item.pair.scene for item in found if item.pair.split == "train"]
    return overlapping_scenes(overlaps, source, scenes, theirs)


def crop_setting(use: Use, source: Source, asked: CropSetting | None) -> CropSetting:
    """Decide how the images of one use are cut."""
    if use.split != "train":
        return CropSetting(use.size, use.stride or use.size) if use.size else WHOLE
    if asked is not None:
        return asked
    if use.size is not None:
        return CropSetting(use.size, use.stride or use.size)
    return CropSetting(source.crop.size, source.crop.stride) if source.crop else DEFAULT_CROP


def read_found(layout: Layout, source: str) -> list[FoundPair] | None:
    """Read the usable pairs of a source from its pairs.parquet; None where it was not fetched."""
    path = layout.pairs(source)
    if not path.exists():
        return None
    return [
        FoundPair(
            Pair(
                source=row["source"],
                split=row["split"],
                degradation=row["degradation"],
                real=row["real"],
                gt=row["gt"],
                lq=row["lq"],
                level=row["level"],
                scene=row["scene"],
                gt_border=row["gt_border"],
            ),
            row["height"],
            row["width"],
        )
        for batch in read_table(path).to_batches(max_chunksize=10_000)
        for row in batch.to_pylist()
        if row["ok"]
    ]


def write_plan(path: Path, samples: Iterable[PlannedSample]) -> int:
    """
    Write a plan as parquet, a row per sample; give the number of rows.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    return write_objects(path, samples, PLAN_SCHEMA)


class SampleReader:
    """
    Makes the pixels of planned samples. Keeps the last GT and LQ, so an image is decoded once for all its crops.

    Args:
        folders: where the files of each source lie.
        seed: the run's seed; decides the recipes.
    """

    def __init__(self, folders: Mapping[str, Path], seed: int) -> None:
        self._folders = folders
        self._seed = seed
        self._last: dict[str, tuple[str, RgbImage]] = {}

    def pixels(self, sample: PlannedSample) -> tuple[RgbImage, RgbImage, str]:
        """
        Make one sample.

        Returns:
            GT and LQ, both (height, width, 3) RGB uint8, and the recipe as JSON ("" for published pairs).

        Raises:
            ImageError: a file is missing, cut short or no image.
            PairError: LQ and GT differ in size, or the image is smaller than planned.
        """
        gt = self._image("gt", sample.source, sample.gt_path)
        border = sample.gt_border
        if border:
            gt = gt[border:-border, border:-border]
        gt_crop = self._cut(gt, sample, sample.gt_path)
        if sample.made:
            recipe = recipe_for(sample, self._seed)
            return gt_crop, degrade(gt_crop, recipe), recipe.to_json()
        lq = self._image("lq", sample.source, sample.lq_path)
        if lq.shape != gt.shape:
            raise PairError(
                f"{sample.lq_path} has {lq.shape[1]} x {lq.shape[0]} pixels, "
                f"its GT {sample.gt_path} has {gt.shape[1]} x {gt.shape[0]}; `uir verify {sample.source}` leaves it out"
            )
        return gt_crop, self._cut(lq, sample, sample.lq_path), ""

    def _image(self, role: str, source: str, path: str) -> RgbImage:
        name = f"{source}/{path}"
        last = self._last.get(role)
        if last is not None and last[0] == name:
            return last[1]
        image = read_image(self._folders[source] / path)
        self._last[role] = (name, image)
        return image

    def _cut(self, image: RgbImage, sample: PlannedSample, path: str) -> RgbImage:
        box = sample.box
        if box.top + box.height > image.shape[0] or box.left + box.width > image.shape[1]:
            raise PairError(
                f"{path} has {image.shape[1]} x {image.shape[0]} pixels, less than when it was planned; "
                f"run `uir verify {sample.source}`"
            )
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width]
        # A copy: degradations may expect contiguous rows, and the whole image can be freed.
        return cut.copy()


def recipe_for(sample: PlannedSample, seed: int) -> Recipe:
    """Draw the recipe of a made sample: a function of the run's seed and the sample's key alone."""
    return sample_recipe(sample.degradation, rng_for(seed, sample.key, "recipe"), sample.level)


def source_folders(sources: Mapping[str, Source], layout: Layout, names: Iterable[str]) -> dict[str, Path]:
    """Say where the unpacked files of some sources lie: the user's own folders stay where they are."""
    return {name: sources[name].local_dir or layout.source(name) for name in names}


def export_crops(
    plan: Plan,
    folders: Mapping[str, Path],
    out: Path,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[Left]:
    """
    Write crops as PNG files, `out/<split>/<degradation>/{gt,lq}/<key>.png`; files that are there stay.

    Args:
        plan: what to cut.
        folders: where the files of each source lie.
        out: where to.
        jobs: photographs at once.
        progress: is told of crops.

    Returns:
        What could not be written, with the reason.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    listener = progress or Silent()
    listener.begin("crops", sum(1 for _ in plan.samples()))

    def export(samples: list[PlannedSample]) -> list[Left]:
        # A reader of its own: it keeps one image, and threads work on different ones.
        reader = SampleReader(folders, plan.seed)
        failures = []
        for sample in samples:
            try:
                _export(sample, reader, out)
            except (ImageError, PairError) as error:
                failures.append(Left(sample.key, str(error)))
            listener.advance("crops")
        return failures

    images = (list(group) for _, group in groupby(plan.samples(), lambda sample: (sample.group, sample.gt_path)))
    # Threads are enough: decoding, filters and encoding let go of the interpreter.
    with ThreadPoolExecutor(jobs) as pool:
        failures = [failure for left in _ahead(pool, export, images, jobs) for failure in left]
    listener.end("crops")
    return failures


def _export(sample: PlannedSample, reader: SampleReader, out: Path) -> None:
    folder = out / sample.split / sample.degradation
    targets = folder / "gt" / f"{sample.key}.png", folder / "lq" / f"{sample.key}.png"
    if all(target.exists() for target in targets):
        return
    gt, lq, _ = reader.pixels(sample)
    for target, image in zip(targets, (gt, lq), strict=True):
        with writing(target) as partial:
            partial.write_bytes(encode_image(image, "png"))


def _ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[list[PlannedSample]], list[Left]],
    items: Iterator[list[PlannedSample]],
    jobs: int,
) -> Iterator[list[Left]]:
    """Give results in order, with only a few items begun ahead: a plan may have millions."""
    waiting = deque(pool.submit(work, item) for item in islice(items, 2 * jobs))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, item) for item in islice(items, 1))


def describe_failure(error: UirError) -> str:
    """Give an error's message on one line."""
    return " ".join(str(error).split())
