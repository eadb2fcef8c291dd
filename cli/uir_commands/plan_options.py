"""What the commands that plan share: how images are cut, which subset is meant, and what a plan looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from uirdata.errors import SourceError, UsageError
from uirdata.layout import Layout

from ..console import Console, size_text
from ..options import all_sources, find_subset

if TYPE_CHECKING:
    from uirdata.pipeline.building.sample_plan import Plan
    from uirdata.pipeline.building.screen import Screened
    from uirdata.planning import CropSetting, GroupKey
    from uirdata.sources import Source
    from uirdata.subsets import Subset

SIZE = click.option("--size", type=click.IntRange(1), help="Of training crops, pixels. [default: the subset's, or 512]")
STRIDE = click.option("--stride", type=click.IntRange(1), help="From crop to crop. [default: the subset's, or 256]")

VARIANT = click.option(
    "--variant",
    type=click.Choice(["paper", "clean"]),
    default="paper",
    show_default=True,
    help="`clean` leaves out training scenes that are known to lie in a benchmark.",
)


def plan_of(
    layout: Layout,
    ids: Sequence[str],
    subset: str | None,
    size: int | None,
    stride: int | None,
    seed: int,
    variant: str,
    *,
    dry_run: bool = False,
) -> tuple[Subset, dict[str, Source], Plan]:
    """
    Plan what the options of a command ask for.

    Returns:
        The subset, all sources by id, and the plan.
    """
    from uirdata.facts.overlaps import load_overlaps
    from uirdata.pipeline.building.sample_plan import make_plan
    from uirdata.sources import MANIFESTS

    sources = all_sources(layout)
    chosen = _chosen_subset(layout, ids, subset, sources)
    plan = make_plan(
        chosen,
        sources,
        layout,
        crop=_crop_setting(size, stride),
        seed=seed,
        overlaps=load_overlaps([MANIFESTS / "overlaps", layout.overlaps]),
        clean=variant == "clean",
        may_be_empty=dry_run,
    )
    return chosen, sources, plan


def _chosen_subset(layout: Layout, ids: Sequence[str], subset: str | None, sources: dict[str, Source]) -> Subset:
    """Say what to build: --subset, some of its sources, some sources by themselves, or all that was fetched."""
    from uirdata.subsets import Subset, merge_subsets

    if subset is None and not ids:
        ids = [name for name in sources if layout.pairs(name).exists()]
        if not ids:
            raise SourceError(
                f"nothing has been fetched into {layout.root}; `uir fetch --subset sample` is a beginning"
            )
    if subset is None:
        return merge_subsets([find_subset(layout, name) for name in ids])
    whole = find_subset(layout, subset)
    if not ids:
        return whole
    unknown = [name for name in ids if name not in whole.sources]
    if unknown:
        raise UsageError(f"{unknown[0]} is not in {subset}, which has: {', '.join(whole.sources)}")
    uses = tuple(use for use in whole.uses if use.source in ids)
    return Subset(**{**vars(whole), "uses": uses})


def _crop_setting(size: int | None, stride: int | None) -> CropSetting | None:
    from uirdata.planning import CropSetting

    if size is None and stride is None:
        return None
    # Half a window of overlap, as the published crop scripts for GoPro and REDS.
    return CropSetting(size or 512, stride or (size or 512) // 2 or 1)


@dataclass(frozen=True)
class Expected:
    """
    What the sources that are not here would add, as far as their manifests say.

    Attributes:
        groups: split, degradation and source, and how many samples; None where nobody says.
        subset: that wants them.
        sources: all sources, by id.
    """

    groups: list[tuple[GroupKey, int | None]]
    subset: Subset
    sources: dict[str, Source]


def expected_of(subset: Subset, sources: dict[str, Source], plan: Plan) -> Expected:
    """Say what the sources that are not here would add."""
    from uirdata.pipeline.building.sample_plan import expected_samples

    groups = [row for left in plan.left for row in expected_samples(subset, sources[left.source])]
    return Expected(groups, subset, sources)


def show_plan(
    console: Console,
    plan: Plan,
    where: str,
    planned: Expected | None = None,
    screened: Sequence[Screened] = (),
    *,
    lazy: bool = False,
) -> int:
    """
    Show how many samples of what a plan has, and would have; give the number that it has.

    Args:
        console: where to.
        plan: what to show.
        where: it was written to; "" if nowhere.
        planned: what is not here yet.
        screened: what screening found.
        lazy: say what lazy shards save, too.
    """
    from uirdata.pipeline.building.size_estimates import Sizes
    from uirdata.planning import estimated_bytes

    expected = planned.groups if planned is not None else []
    sizes = Sizes()
    counts: Counter[GroupKey] = Counter()
    size = 0
    for sample in plan.samples():
        counts[sample.group] += 1
        size += estimated_bytes(sample)
        sizes.add(sample)
    rows: list[tuple[GroupKey, int | None, str]] = [
        *((group, number, "files") for group, number in counts.items()),
        *((group, number, "its manifest; not fetched") for group, number in expected),
    ]
    table = [
        {**group._asdict(), "samples": number, "counted from": how}
        for group, number, how in sorted(rows, key=lambda row: row[0])
    ]
    total, announced = counts.total(), sum(number or 0 for _, number in expected)
    if planned is not None:
        for name in dict.fromkeys(group.source for group, _ in expected):
            rows_of_it = [row for row in expected if row[0].source == name]
            sizes.add_expected(planned.subset, planned.sources[name], rows_of_it)
    lazily = {str(codec): {"kept": kept, "lazy": small} for codec, (kept, small) in sizes.lazily().items()}
    document = {"samples": total, "expected_samples": announced, "estimated_bytes": size, "plan": where}
    if lazy:
        document["bytes_by_codec"] = lazily
    console.data({**document, "groups": table, "screened": [asdict(report) for report in screened]})
    console.table(table, right=["samples"])
    console.line(f"{total:,} samples, about {size_text(size)} of shards" + (f"; {where}" if where else ""))
    if expected:
        unknown = sum(number is None for _, number in expected)
        more = f", and {unknown} rows whose number nobody publishes" if unknown else ""
        console.line(f"{announced:,} samples more of sources that are not fetched{more}")
    if lazy:
        _show_lazily(console, lazily)
    return total


def remark_left(console: Console, plan: Plan) -> None:
    """Name the sources that a plan had to do without."""
    for left in plan.left:
        console.warning(f"{left.source} is left out: {left.reason}")


def _show_lazily(console: Console, sizes: Mapping[str, Mapping[str, int]]) -> None:
    for codec, size in sizes.items():
        if size["lazy"]:
            kept, small = size_text(size["kept"]), size_text(size["lazy"])
            times = size["kept"] / size["lazy"]
            console.line(f"as {codec}: {kept} with every LQ, {small} lazily, {times:.1f} times less")
