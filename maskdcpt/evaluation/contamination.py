"""Overlap of a checkpoint's training data with the test sets."""

from __future__ import annotations

from collections.abc import Sequence

from maskdcpt.evaluation.test_sets import TestSet
from uirdata.facts.overlaps import Overlap, load_overlaps
from uirdata.layout import Layout
from uirdata.pipeline.building.sample_plan import scenes_held
from uirdata.storage.pair_tables import read_found

_KINDS = {
    "same": "has scenes that are in",
    "equal-scene": "may have scenes of equal names, which are then the same, in",
    "some": "has some scenes that are in",
}


def contamination(
    test_set: TestSet, sources: frozenset[str], layout: Layout, overlaps: Sequence[Overlap] | None = None
) -> list[str]:
    """
    Return what is known of scenes of a test set in training sources, as sentences with the evidence.

    Where both sources are below the root, the training scenes that the lists name are counted; a list that names none
    of them gives no sentence.

    Args:
        test_set: the test set.
        sources: ids of the training sources.
        layout: of the root.
        overlaps: read from the manifests when None.
    """
    names = {test_set.source, test_set.level.lower(), test_set.name}
    found = []
    for overlap in load_overlaps() if overlaps is None else overlaps:
        if overlap.benchmark not in names or overlap.source not in sources:
            continue
        training = [item for item in read_found(layout, overlap.source) or () if item.pair.split == "train"]
        if training and overlap.kind != "some":
            scenes = {item.pair.scene for item in training}
            held = len(scenes_held(overlap.source, training, [overlap], layout))
            if held:
                found.append(
                    f"{test_set.name} holds {held:,} of the {len(scenes):,} training scenes of {overlap.source}"
                )
            continue
        found.append(f"{overlap.source} {_KINDS[overlap.kind]} {test_set.name}; said: {overlap.evidence}")
    return found
