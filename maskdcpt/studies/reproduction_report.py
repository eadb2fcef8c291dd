"""The report of a reproduction: a row for each arm, compared with training from scratch seed by seed, and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskdcpt.evaluation.significance import mean_interval
from maskdcpt.studies.ablation_arms import ARMS, SCRATCH, SUBSET, Size
from maskdcpt.studies.figures import draw_bands
from maskdcpt.studies.reproduce import Comparison, Outcome
from uirdata.storage.files import writing


@dataclass(frozen=True)
class ArmRow:
    """
    An arm on a backbone, over its seeds.

    Attributes:
        backbone: name.
        arm: name.
        seeds: that are finished.
        psnr: mean over the seeds, in dB.
        spread: standard deviation over the seeds, in dB; 0 for one seed.
        gain: mean of its PSNR minus that of scratch from the same seed; None for scratch, or without such pairs.
        gain_interval: 95 % of that mean (Student's t over the seeds); None for fewer than two pairs.
        better: of how many pairs it is the better one, and of how many.
        by_degradation: mean PSNR of each.
        probe_start: mean accuracy of neighbours on the features that fine-tuning starts from, 0 to 1.
        probe_end: the same after fine-tuning.
        accuracy: mean of the pre-trained classifier; None without one.
    """

    backbone: str
    arm: str
    seeds: tuple[int, ...]
    psnr: float
    spread: float
    gain: float | None
    gain_interval: tuple[float, float] | None
    better: tuple[int, int]
    by_degradation: Mapping[str, float]
    probe_start: float
    probe_end: float
    accuracy: float | None

    @property
    def beyond_spread(self) -> bool:
        """Whether the 95 % interval of its difference to scratch excludes zero."""
        return self.gain_interval is not None and not self.gain_interval[0] <= 0 <= self.gain_interval[1]


def summarise(outcomes: Sequence[Outcome]) -> list[ArmRow]:
    """Return a row for each backbone and arm with a finished seed, in the order of `ablation_arms.ARMS`."""
    rows = []
    for backbone in dict.fromkeys(outcome.task.backbone for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.task.backbone == backbone]
        scratch = {outcome.task.seed: outcome.psnr for outcome in mine if outcome.task.arm == SCRATCH}
        for arm in ARMS:
            group = [outcome for outcome in mine if outcome.task.arm == arm]
            if group:
                rows.append(_row(backbone, arm, group, {} if arm == SCRATCH else scratch))
    return rows


def to_markdown(rows: Sequence[ArmRow], outcomes: Sequence[Outcome], size: Size) -> str:
    """Return the tables of a report as Markdown, two for each backbone."""
    parts = []
    for backbone in dict.fromkeys(row.backbone for row in rows):
        mine = [row for row in rows if row.backbone == backbone]
        lq = next(outcome.lq_psnr for outcome in outcomes if outcome.task.backbone == backbone)
        chance = next(outcome.chance for outcome in outcomes if outcome.task.backbone == backbone)
        words = ", ".join(f"{name} {_plain(value)}" for name, value in size.networks[backbone].items())
        parts += [
            f"### {backbone} ({words})",
            "",
            f"PSNR in dB over the five degradations, mean and standard deviation over the seeds (LQ: {lq:.2f}); "
            "against scratch: mean difference over equal seeds, with its 95 % interval (Student's t); probe: share of "
            f"test images that 5 nearest neighbours classify correctly (chance {chance:.0%}), on the features before "
            "and after fine-tuning; named: accuracy of the pre-trained classifier.",
            "",
            *_pipes([main_cells(row) for row in mine]),
            "",
            *_pipes([degradation_cells(row) for row in mine]),
            "",
        ]
    return "\n".join(parts)


def main_cells(row: ArmRow) -> dict[str, str]:
    """Return the cells of the first table."""
    against = "" if row.gain is None else f"{row.gain:+.2f}"
    if row.gain_interval is not None:
        against += f" [{row.gain_interval[0]:+.2f}, {row.gain_interval[1]:+.2f}]"
    return {
        "arm": ARMS[row.arm].title,
        "seeds": str(len(row.seeds)),
        "PSNR": f"{row.psnr:.2f} ± {row.spread:.2f}",
        "against scratch": against,
        "better in": "" if row.gain is None else f"{row.better[0]} of {row.better[1]}",
        "probe before": f"{row.probe_start:.0%}",
        "after": f"{row.probe_end:.0%}",
        "named": "" if row.accuracy is None else f"{row.accuracy:.0%}",
    }


def degradation_cells(row: ArmRow) -> dict[str, str]:
    """Return the cells of the second table."""
    return {"arm": ARMS[row.arm].title, **{name: f"{value:.2f}" for name, value in row.by_degradation.items()}}


def write_report(comparison: Comparison, outcomes: Sequence[Outcome]) -> list[Path]:
    """
    Write OUT/report.md, report.json and a figure for each backbone.

    Returns:
        The files.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    import json

    rows, files = summarise(outcomes), []
    for backbone in dict.fromkeys(row.backbone for row in rows):
        curves: dict[str, list[Sequence[tuple[int, float]]]] = {}
        for outcome in outcomes:
            if outcome.task.backbone == backbone:
                curves.setdefault(ARMS[outcome.task.arm].title, []).append(outcome.curve)
        files.append(comparison.out / f"psnr-{backbone}.png")
        draw_bands(curves, files[-1], quantity=f"PSNR of {backbone} on the test windows, dB")
    texts = {
        "report.md": f"# {SUBSET}, size {comparison.size_name}\n\n" + to_markdown(rows, outcomes, comparison.size),
        "report.json": json.dumps(to_document(rows, outcomes), indent=1) + "\n",
    }
    for name, text in texts.items():
        files.append(comparison.out / name)
        with writing(files[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    return files


def to_document(rows: Sequence[ArmRow], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return plain values: the rows, and each run."""
    return {
        "rows": [{**asdict(row), "beyond_spread": row.beyond_spread} for row in rows],
        "runs": [asdict(outcome) for outcome in outcomes],
    }


def _row(backbone: str, arm: str, group: Sequence[Outcome], scratch: Mapping[int, float]) -> ArmRow:
    values = [outcome.psnr for outcome in group]
    pairs = [outcome.psnr - scratch[outcome.task.seed] for outcome in group if outcome.task.seed in scratch]
    named = [outcome.accuracy for outcome in group if outcome.accuracy is not None]
    names = list(group[0].by_degradation)
    return ArmRow(
        backbone=backbone,
        arm=arm,
        seeds=tuple(outcome.task.seed for outcome in group),
        psnr=_mean(values),
        spread=_deviation(values),
        gain=_mean(pairs) if pairs else None,
        gain_interval=mean_interval(pairs),
        better=(sum(value > 0 for value in pairs), len(pairs)),
        by_degradation={name: _mean([outcome.by_degradation[name] for outcome in group]) for name in names},
        probe_start=_mean([outcome.probe_start for outcome in group]),
        probe_end=_mean([outcome.probe_end for outcome in group]),
        accuracy=_mean(named) if named else None,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _pipes(cells: Sequence[Mapping[str, str]]) -> list[str]:
    header = list(cells[0])
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *([row[name] for name in header] for row in cells)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _plain(value: object) -> str:
    return " ".join(str(part) for part in value) if isinstance(value, tuple | list) else str(value)
