"""Export of crops as image files."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from uirdata.errors import ImageError, PairError, one_file
from uirdata.images import encode_image
from uirdata.pipeline.building.sample_plan import Left, Plan
from uirdata.pipeline.building.sample_reader import SampleReader
from uirdata.pipeline.parallel import look_ahead
from uirdata.planning import PlannedSample
from uirdata.progress import Progress, Silent
from uirdata.storage.files import writing


def export_crops(
    plan: Plan,
    folders: Mapping[str, Path],
    out: Path,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[Left]:
    """
    Write crops as PNG files, `out/<split>/<degradation>/{gt,lq}/<key>.png`; existing files are kept.

    Args:
        plan: the crops.
        folders: folder of the files of each source.
        out: the folder to write to.
        jobs: number of images that are processed in parallel.
        progress: receives the crops that are done.

    Returns:
        The samples that could not be made, with the reason.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    listener = progress or Silent()
    listener.begin("crops", sum(1 for _ in plan.samples()))

    def export(samples: list[PlannedSample]) -> list[Left]:
        # Each task has its own reader: a reader caches one image, and threads work on different ones.
        reader = SampleReader(folders, plan.seed)
        failures = []
        for sample in samples:
            try:
                with one_file(sample.lq_path or sample.gt_path):
                    _export(sample, reader, out)
            except (ImageError, PairError) as error:
                failures.append(Left(sample.key, str(error)))
            listener.advance("crops")
        return failures

    images = (list(group) for _, group in groupby(plan.samples(), lambda sample: (sample.group, sample.gt_path)))
    # Threads are enough: decoding, filters and encoding release the GIL.
    with ThreadPoolExecutor(jobs) as pool:
        failures = [failure for left in look_ahead(pool, export, images, ahead=2 * jobs) for failure in left]
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
