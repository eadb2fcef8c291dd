"""The training data of a checkpoint, as far as it is known."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from maskdcpt.config.train_config import TrainConfig
from maskdcpt.weights.checkpoints import Checkpoint
from maskdcpt.weights.load import load_earlier
from uirdata.errors import UirError
from uirdata.pipeline.choosing import subset_of_shards
from uirdata.storage.manifest_rows import read_manifest
from uirdata.storage.shard_states import MANIFEST
from uirdata.subsets import Subset, load_subset
from uirdata.validators import shown

_MOST_STAGES = 16
"""Most trainings, one from the result of another, that are followed."""

_PUBLISHED = re.compile(r"_(5d|12d|mixed)(?:_|$)")


@dataclass(frozen=True)
class TrainingData:
    """
    What is known about the data that a checkpoint was trained on.

    Attributes:
        sentences: for human readers, the last training stage first. Stored in evaluation reports.
        sources: ids of the sources, as far as they are known.
        certain: whether this follows from the checkpoint's own configuration.
    """

    sentences: tuple[str, ...]
    sources: frozenset[str]
    certain: bool


def training_data(checkpoint: Checkpoint) -> TrainingData:
    """
    Return what a checkpoint was trained on, from its own configuration and those of the checkpoints it started from.

    A published file does not contain this: then the subset in its name is used, and the sentence states so.

    Args:
        checkpoint: its configurations name the subsets.
    """
    if checkpoint.config is None:
        match = _PUBLISHED.search(checkpoint.path.stem)
        if match is None:
            return TrainingData(("The file does not tell what it was trained on.",), frozenset(), False)
        subset = load_subset(match[1])
        sources = _training_sources(subset)
        sentence = (
            f"The file does not tell what it was trained on. Its name says {match[1]}, which the paper describes as: "
            f"{subset.title} Sources: {', '.join(sorted(sources))}."
        )
        return TrainingData((sentence,), frozenset(sources), False)
    sentences, sources = [], set()
    stage, known = checkpoint, {checkpoint.path.resolve()}
    while stage.config is not None:
        found, where = _stage_sources(stage.config)
        sources |= found
        sentences.append(
            f"{stage.config.objective.kind}, {stage.step:,} steps of {stage.config.data.batch} on {where}: "
            f"{', '.join(sorted(found)) or 'sources that are not known any more'}."
        )
        before = stage.config.init.checkpoint
        if not before:
            break
        try:
            stage = load_earlier(stage)
        except UirError:
            sentences.append(f"Started from {shown(before)}, which is not here any more.")
            break
        # The configurations may be a stranger's, and name each other in a circle.
        if stage.path.resolve() in known:
            sentences.append(f"Started from {shown(before)}, which started from itself.")
            break
        if len(known) == _MOST_STAGES:
            sentences.append(f"Started from {shown(before)}; earlier stages are not listed.")
            break
        known.add(stage.path.resolve())
    return TrainingData(tuple(sentences), frozenset(sources), True)


def _stage_sources(config: TrainConfig) -> tuple[set[str], str]:
    """Return the sources of one run, from the manifest of its shards if that still exists, else from its subset."""
    data = config.data
    where = f"{data.subset or 'all'} of {data.shards}"
    try:
        subset = subset_of_shards(data.shards, data.subset)
    except UirError:
        # The subset does not exist any more: then all sources of the shards are named.
        subset = None
    manifest = Path(data.shards) / MANIFEST
    # Not Path.exists, which raises an error for a path that is too long.
    if not os.path.exists(manifest):  # noqa: PTH110
        return set() if subset is None else _training_sources(subset), where
    try:
        table = read_manifest(manifest.parent, ["source", "split", "degradation"])
    except UirError:
        return set() if subset is None else _training_sources(subset), where
    table = table.filter(pc.equal(table["split"], data.split))
    if subset is not None and subset.degradations:
        table = table.filter(pc.is_in(table["degradation"], value_set=pa.array(subset.degradations)))
    return set(table["source"].to_pylist()), where


def _training_sources(subset: Subset) -> set[str]:
    return {use.source for use in subset.uses if use.split == "train"}
