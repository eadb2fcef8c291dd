"""Options and output of the commands that plan samples: crop size and stride, variant, and the table of a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..console import Console, size_text

if TYPE_CHECKING:
    from uirdata.pipeline.building.narrowed import Narrowing
    from uirdata.pipeline.building.sample_plan import Plan
    from uirdata.pipeline.building.screen import Screened
    from uirdata.pipeline.building.subset_plan import SubsetPlan
    from uirdata.planning import GroupKey
    from uirdata.sources import Source
    from uirdata.subsets import Subset

F = TypeVar("F", bound=Callable[..., Any])

SIZE = click.option(
    "--size", type=click.IntRange(1), help="Side of training crops in pixels. [default: that of the subset, or 512]"
)
STRIDE = click.option(
    "--stride", type=click.IntRange(1), help="Step between crops in pixels. [default: that of the subset, or 256]"
)

VARIANT = click.option(
    "--variant",
    type=click.Choice(["paper", "clean"]),
    default="paper",
    show_default=True,
    help="`clean` leaves out training scenes that are known to be in a benchmark.",
)


def narrowing_options(command: F) -> F:
    """Add --degradation, --level and --per-image to a command."""
    for option in (
        click.option(
            "--per-image", type=click.IntRange(1), metavar="N", help="LQ that are made of each crop of a clean image."
        ),
        click.option("--level", metavar="PATTERN,...", default="", help="Levels to make, such as 'gaussian-*'."),
        click.option("--degradation", metavar="NAME,...", default="", help="Make only these degradations."),
    ):
        command = option(command)
    return command


def narrowing_of(degradation: str, level: str, per_image: int | None) -> Narrowing:
    """Return the part of a subset that the options ask for."""
    from uirdata.pipeline.building.narrowed import Narrowing

    return Narrowing(names_of(degradation), names_of(level), per_image)


def names_of(text: str) -> tuple[str, ...]:
    """Return the names of an option that lists some, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


@dataclass(frozen=True)
class Expected:
    """
    The samples that sources which have not been fetched would add, as far as their manifests say.

    Attributes:
        groups: split, degradation and source, and the number of samples; None if it is not published.
        subset: the subset to build.
        sources: all sources, by id.
    """

    groups: list[tuple[GroupKey, int | None]]
    subset: Subset
    sources: dict[str, Source]


def expected_of(planned: SubsetPlan) -> Expected:
    """Return the samples that sources which have not been fetched would add."""
    from uirdata.pipeline.building.sample_plan import expected_samples

    subset, sources = planned.subset, dict(planned.sources)
    groups = [row for left in planned.plan.left for row in expected_samples(subset, sources[left.source])]
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
    Show the samples of a plan by split, degradation and source; return their number.

    Args:
        console: where to print.
        plan: the plan to show.
        where: the file that it was written to; "" if none.
        planned: the samples that sources which have not been fetched would add.
        screened: the results of screening.
        lazy: also show the size of lazy shards.
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
        more = f", and {unknown} rows whose number is not published" if unknown else ""
        console.line(f"{announced:,} more samples of sources that have not been fetched{more}")
    if lazy:
        _show_lazily(console, lazily)
    return total


def remark_left(console: Console, plan: Plan) -> None:
    """Warn about the sources that a plan left out."""
    for left in plan.left:
        console.warning(f"{left.source} is left out: {left.reason}")


def _show_lazily(console: Console, sizes: Mapping[str, Mapping[str, int]]) -> None:
    for codec, size in sizes.items():
        if size["lazy"]:
            kept, small = size_text(size["kept"]), size_text(size["lazy"])
            times = size["kept"] / size["lazy"]
            console.line(f"as {codec}: {kept} with every LQ, {small} as lazy shards, {times:.1f} times smaller")
