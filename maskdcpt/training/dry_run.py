"""What a run would do, computed without training (dry run)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskdcpt.config.toml import checked
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.samples import TO_TRAIN, open_samples, repeat_ratios
from maskdcpt.data.sampling import epoch_slots
from maskdcpt.networks.networks import Networks
from maskdcpt.training.stages import check_sizes, stages_of
from maskdcpt.training.validation import held_out
from uirdata.pipeline.choosing import subset_of_shards
from uirdata.subsets import Subset


def plan_run(config: TrainConfig, subset: Subset | None = None) -> Mapping[str, Any]:
    """
    Check a configuration against its shards and networks, and return a summary of the run: label to text.

    `subset` and errors as in `maskdcpt.training.loop.train`.
    """
    config = checked(config)
    chosen = subset_of_shards(config.data.shards, config.data.subset) if subset is None else subset
    samples = open_samples(config.data.shards, config.data.split, chosen, otherwise=TO_TRAIN)
    slots = epoch_slots(samples.degradations, repeat_ratios(config.data.repeat, chosen, samples), config.data.sampling)
    networks = Networks.create(config, len(samples.class_names))
    check_sizes(config, networks.backbone)
    validation = held_out(config, chosen)
    stages = stages_of(config)
    seen = sum((stage.end - stage.start) * stage.batch for stage in stages)
    parameters = {
        f"parameters of the {name}": f"{sum(p.numel() for p in part.parameters()):,}"
        for name, part in networks.named_children()
    }
    return {
        "labels": ", ".join(samples.class_names),
        "samples": f"{len(samples):,}",
        "samples in an epoch": f"{len(slots):,}",
        "samples for validation": f"none: {validation or 'not wanted'}"
        if isinstance(validation, str)
        else f"{len(validation):,}",
        **parameters,
        "steps": f"{config.loop.steps:,}",
        "crops seen": f"{seen:,} ({seen / len(slots):.1f} epochs)",
        "stages": "; ".join(f"{s.batch} crops of {s.crop} from step {s.start:,}" for s in stages),
    }
