"""What was taken from a user's own folder, in one sentence, and what looks wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from uirdata.errors import UsageError
from uirdata.facts.own_pairs import pair_option, place_text, swapped_patterns
from uirdata.file_kinds import NOT_READ, unread_text
from uirdata.layout import Layout
from uirdata.pipeline.fetching.inventory import Inventory, pair_files
from uirdata.pipeline.fetching.own_manifest import is_edited
from uirdata.pipeline.fetching.swapped import looks_swapped
from uirdata.sources import Source


def taken_text(source: Source, inventory: Inventory, layout: Layout) -> str:
    """Return what was taken, such as "taken as 12 pairs (noise) from lq/gt; 7 files not read (.heic 5, .dng 2)"."""
    kinds: dict[str, dict[str, int]] = {}
    for (split, degradation, _), number in inventory.found.items():
        kinds.setdefault(degradation, {}).setdefault(split, 0)
        kinds[degradation][split] += number
    parts = []
    for degradation, splits in kinds.items():
        total = sum(splits.values())
        plural = "" if total == 1 else "s"
        what = f"{total:,} pair{plural} ({degradation})" if degradation else f"{total:,} clean photograph{plural}"
        others = [f"{number:,} for {split}" for split, number in splits.items() if split != "train"]
        parts.append(f"{what}, {' and '.join(others)}" if others else what)
    places = dict.fromkeys(_place(rule.lq, rule.gt) for rule in source.pairs if rule.lq and rule.gt)
    sentence = f"taken as {' and '.join(parts)}"
    if places:
        sentence += f" from {', '.join(places)}"
    if is_edited(layout.manifests / f"{source.id}.toml"):
        sentence += f", as {layout.manifests / f'{source.id}.toml'} says, which is kept as it is"
    unread = unread_text(inventory.unread)
    return f"{sentence}; {unread}" if unread else sentence


def taken_remarks(source: Source, inventory: Inventory, layout: Layout) -> tuple[str, ...]:
    """Return what looks wrong: kinds of files that are not read, and LQ and GT that look swapped."""
    unread = (f"{suffix} is not read: it is {NOT_READ[suffix]}" for suffix in inventory.unread)
    swapped = (f"{why}: LQ and GT may be swapped. They are taken as said" for *_, why in _swapped(source, layout))
    return (*unread, *swapped)


def refuse_swapped(source: Source, layout: Layout) -> None:
    """
    Check that the LQ of a user's folder are the degraded images, as far as a few of them tell.

    Raises:
        UsageError: LQ and GT look swapped; the message names the options for either meaning.
    """
    for lq, gt, degradation, why in _swapped(source, layout):
        turned = swapped_patterns(lq, gt)
        named = f"--degradation {degradation}"
        again = "run the same command again with"
        swap = f"If they are, {again} {pair_option(*turned)} {named}" if turned else "Swap the names"
        raise UsageError(
            f"{source.local_dir}: {why}: LQ and GT look swapped, or the degradation is another. {swap}; if they are as "
            f"meant, {again} {pair_option(lq, gt)} {named}"
        )


def _swapped(source: Source, layout: Layout) -> Iterator[tuple[str, str, str, str]]:
    """Yield LQ pattern, GT pattern, degradation and reason for each rule whose LQ and GT look swapped."""
    assert source.local_dir is not None
    if not any(rule.lq and rule.gt for rule in source.pairs):
        return
    pairs = pair_files(source, layout).pairs
    for degradation in dict.fromkeys(rule.degradation for rule in source.pairs if rule.lq and rule.gt):
        rule = next(rule for rule in source.pairs if rule.degradation == degradation)
        found = [(pair.lq, pair.gt) for pair in pairs if pair.degradation == degradation and pair.lq and pair.gt]
        if why := looks_swapped(source.local_dir, degradation, found):
            yield rule.lq, rule.gt, degradation, why


def _place(lq: str, gt: str) -> str:
    left, right = place_text(lq), place_text(gt)
    return f"{left}/{right}" if "/" not in left + right and "{" not in left + right else f"{left} and {right}"
