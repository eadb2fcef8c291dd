"""The folder of a run, and the state that it goes on from."""

from __future__ import annotations

import copy
import math
import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskdcpt.backbones import Backbone
from maskdcpt.batches import Batch
from maskdcpt.checkpoints import (
    Checkpoint,
    check_same_classes,
    checkpoint_folders,
    load_checkpoint,
    load_state,
)
from maskdcpt.config import TrainConfig
from maskdcpt.configuring import FREE_ON_RESUME, differences, read_config, to_toml
from maskdcpt.distributed import Process
from maskdcpt.masking import random_patch_mask
from maskdcpt.networks import NETWORKS, Networks, blocks_of, load_exactly, save_memory
from maskdcpt.objectives.finetuning import finetuning_losses
from maskdcpt.objectives.pretraining import pretraining_losses
from maskdcpt.optimization import RunningAverage, create_optimizer
from maskdcpt.parallel import divide, move_parameters, part_of, whole
from maskdcpt.stages import check_sizes
from uirdata.errors import UsageError
from uirdata.storage.tables import storage_error, writing

CONFIG = "config.toml"


class RunState:
    """
    All that changes while a run goes.

    Attributes:
        networks: the weights.
        optimizer: and its moments.
        average: the running average of the weights; None where none is kept.
        class_names: the label order.
        step: how many steps are done.
        samples: how many samples were seen.
        skipped: steps that were left out because they were no numbers.
    """

    def __init__(
        self,
        networks: Networks,
        optimizer: torch.optim.Optimizer,
        average: RunningAverage | None,
        class_names: tuple[str, ...],
    ) -> None:
        self.networks = networks
        self.optimizer = optimizer
        self.average = average
        self.class_names = class_names
        self.step = 0
        self.samples = 0
        self.skipped = 0
        self._whole: Networks | None = None

    @property
    def divided(self) -> bool:
        """Whether this process holds only a part of the weights."""
        return self._whole is not None

    def divide(self, root: nn.Module, process: Process) -> None:
        """
        Leave each process its part of the weights, the moments and the average; errors as `parallel.divide`.

        Args:
            root: has the networks, and computes the losses.
            process: all must call.
        """
        # Other tensors take the place of the parameters; what knew those by identity learns of these.
        before = dict(self.networks.named_parameters())
        self._whole = copy.deepcopy(self.networks).requires_grad_(False) if process.leads else self.networks
        divide(root, blocks_of(self.networks.backbone), process)
        after = dict(self.networks.named_parameters())
        move_parameters(self.optimizer, {before[name]: after[name] for name in before})
        if self.average is not None:
            self.average.weights = {name: part_of(w, after[name]) for name, w in self.average.weights.items()}

    @contextmanager
    def judged(self) -> Iterator[Networks]:
        """
        Give the networks with the weights to judge a run by, the running average where one is kept, while a block runs.

        Where weights are divided all processes must come here, and only the leading one can use what it is given.
        """
        averaged = self.average.weights if self.average else None
        if self._whole is None:
            networks, weights = self.networks, averaged
        else:
            networks, weights = self._whole, None
            self._gather(networks, averaged or self.networks.named_weights())
        networks.eval()
        try:
            with torch.no_grad(), networks.using(weights):
                yield networks
        finally:
            networks.train()

    @torch.no_grad()
    def _gather(self, into: Networks, weights: Mapping[str, Tensor]) -> None:
        leads = into is not self.networks
        kept = into.named_weights()
        for name, weight in weights.items():
            gathered = whole(weight, keep=leads)
            if leads:
                kept[name].copy_(gathered)

    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        """
        Give the weights as they are named in a checkpoint.

        Args:
            keep: False for a process that only gives its part of divided ones: all must call together.
        """
        named = {f"params.{name}": weight for name, weight in self.networks.named_weights().items()}
        if self.average is not None:
            named |= {f"params_ema.{name}": weight for name, weight in self.average.weights.items()}
        return {name: self._kept(weight, keep) for name, weight in named.items()}

    def _kept(self, tensor: Tensor, keep: bool) -> Tensor:
        # One after the other to the host: a device that holds parts because the whole is too much keeps only parts.
        return whole(tensor.detach(), keep=keep).cpu() if self.divided else tensor

    def _moments(self, keep: bool) -> dict[str, Any]:
        held = self.optimizer.state_dict()
        state = {
            index: {name: self._kept(value, keep) for name, value in values.items()}
            for index, values in held["state"].items()
        }
        return {**held, "state": state}

    def capture(self, *, keep: bool = True) -> dict[str, Any]:
        """Give what a resumed run needs beside the weights, of plain values and tensors. `keep` as in `tensors`."""
        kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
        return {
            "step": self.step,
            "samples": self.samples,
            "skipped": self.skipped,
            "class_names": list(self.class_names),
            "optimizer": self._moments(keep),
            # Nothing here draws from these; whatever a caller adds to the loop may.
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python": random.getstate(),
            "numpy": (kind, np.asarray(keys).tolist(), position, has_gauss, gauss),
        }

    def restore(self, checkpoint: Checkpoint, state: Mapping[str, Any]) -> None:
        """
        Take on what `tensors` and `capture` gave.

        Raises:
            CheckpointError: it belongs to other networks or labels.
        """
        check_same_classes(self.class_names, checkpoint, what="the run")
        _load(self.networks, checkpoint, NETWORKS, "params")
        if self.average is not None:
            self.average.load(checkpoint.params_ema)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.samples, self.skipped = state["step"], state["samples"], state["skipped"]
        torch.set_rng_state(state["torch"])
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002


def find_run(config: TrainConfig, *, resume: bool, writes: bool) -> Path:
    """
    Find a run's folder, and refuse one that does not go with the configuration. Nothing is written.

    Args:
        config: names the folder.
        resume: the folder must hold this run already.
        writes: whether this process is the one that writes.

    Raises:
        UsageError: the folder holds a run and `resume` is not asked for, or it holds none or another one and it is.
    """
    if not config.out:
        raise UsageError("no folder is named for the run: --out DIR, or out in the configuration")
    run = Path(config.out)
    if resume:
        _check_same_run(config, run)
    elif writes and checkpoint_folders(run):
        raise UsageError(f"{run} holds a run already: --resume goes on with it, or choose another --out")
    return run


def write_config(config: TrainConfig, run: Path) -> None:
    """
    Write what a run is into its folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(run, error) from error
    with writing(run / CONFIG) as partial:
        partial.write_text(to_toml(config), encoding="utf-8")


def prepare_state(
    config: TrainConfig, class_names: tuple[str, ...], device: torch.device, resume_from: Path | None
) -> RunState:
    """
    Make the networks and all that moves them: fresh, from another checkpoint, or from the run's own newest one.

    Raises:
        UsageError: backbone, sizes and crops do not go together.
        CheckpointError: a checkpoint is missing, cut short, or of other networks or labels.
    """
    networks = Networks.create(config, len(class_names)).to(device)
    check_sizes(config, networks.backbone)
    freeze_idle(networks, config)
    if config.loop.checkpointing:
        save_memory(networks.backbone)
    if resume_from is None and config.init.contrast:
        favour_contrast(networks.backbone)
    initial = _initial(config, networks, class_names) if resume_from is None else None
    if resume_from is None and config.init.identity:
        clear_head(networks.backbone)
    heads = [head for head in (networks.classifier, networks.reconstruction) if head is not None]
    optimizer = create_optimizer(networks.backbone, heads, config.optimizer)
    average = None
    if config.optimizer.ema_decay:
        weights = networks.named_weights()
        average = RunningAverage(weights, decay=config.optimizer.ema_decay, warmup=config.optimizer.ema_warmup)
        if initial is not None and initial.params_ema:
            # As in DCPT's release: the average goes on from the average that was pre-trained.
            wanted = _parts(config)
            average.load({**average.weights, **_chosen(initial.params_ema, wanted, average.weights)})
    state = RunState(networks, optimizer, average, class_names)
    if resume_from is not None:
        folder = checkpoint_folders(resume_from)[-1]
        state.restore(load_checkpoint(folder), load_state(folder))
    return state


def freeze_idle(networks: Networks, config: TrainConfig) -> None:
    """
    Leave weights alone that the objective never uses, such as the backbone's last layer beside a decoder.

    They would have no gradient, for which DDP waits in vain. Found by one small step, not by a list.
    """
    patch = config.objective.mask_patch
    side = 2 * math.lcm(networks.backbone.multiple, patch)
    device = next(networks.parameters()).device
    images = torch.rand(1, 3, side, side, device=device, generator=torch.Generator(device).manual_seed(0))
    batch = Batch(images, images, torch.zeros(1, dtype=torch.int64, device=device))
    if config.objective.kind == "finetune":
        losses = finetuning_losses(networks, batch, config.objective)
    else:
        mask = random_patch_mask(1, side, side, patch, 0.5, torch.Generator().manual_seed(0)).to(device)
        losses = pretraining_losses(networks, batch, mask, config.objective)
    losses.total.backward()  # type: ignore[no-untyped-call]
    for parameter in networks.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


def clear_head(backbone: Backbone) -> None:
    """Set the last layer to zero, so that the network starts by giving its image back."""
    device = next(backbone.parameters()).device
    backbone.head(torch.ones(1, backbone.last_channels, 16, 16, device=device)).sum().backward()  # type: ignore[no-untyped-call]
    # The weights that got a gradient are those of the last layer.
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.grad is not None:
                parameter.zero_()
                parameter.grad = None


def favour_contrast(backbone: Backbone) -> None:
    """
    Make the first convolution see differences: a twentieth of each filter's mean is left, then all is times six.

    Measured on the sample shards with a NAFNet of width 8, classification alone, 8 crops of 64: after 400 steps 51 % of
    the crops were named rightly in place of 39 %, and noise was told from blur at all.
    """
    first = next(p for p in backbone.parameters() if p.dim() == 4 and p.shape[1] == 3)
    with torch.no_grad():
        first.sub_(0.95 * first.mean(dim=(2, 3), keepdim=True)).mul_(6.0)


def environment(config: TrainConfig, process: Process) -> dict[str, Any]:
    """Give what a run's numbers may depend on beside its configuration."""
    try:
        own = version("universal-image-restoration")
    except PackageNotFoundError:
        own = "not installed"
    device = process.device
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": own,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "ranks": process.ranks,
        "shards": str(Path(config.data.shards).resolve()),
    }


def _check_same_run(config: TrainConfig, run: Path) -> None:
    if not checkpoint_folders(run):
        raise UsageError(f"{run} holds no checkpoint to resume from; leave --resume out to start the run")
    changed = [key for key in differences(config, read_config(run / CONFIG)) if key not in FREE_ON_RESUME]
    if changed:
        raise UsageError(
            f"{run} was started with other values of {', '.join(changed)}; resume it with {run / CONFIG}, or start "
            "another run"
        )


def _initial(config: TrainConfig, networks: Networks, class_names: tuple[str, ...]) -> Checkpoint | None:
    if not config.init.checkpoint:
        return None
    checkpoint = load_checkpoint(config.init.checkpoint)
    parts = _parts(config)
    if "classifier" in parts and networks.classifier is not None:
        check_same_classes(class_names, checkpoint, what="the run")
    _load(networks, checkpoint, parts, config.init.weights)
    return checkpoint


def _load(networks: Networks, checkpoint: Checkpoint, parts: tuple[str, ...], kind: str) -> None:
    for part in parts:
        module = getattr(networks, part)
        if module is not None:
            load_exactly(module, checkpoint, part, kind)


def _parts(config: TrainConfig) -> tuple[str, ...]:
    return NETWORKS if config.init.parts == "all" else ("backbone",)


def _chosen(weights: Mapping[str, Tensor], parts: tuple[str, ...], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: w for name, w in weights.items() if name in known and name.split(".", 1)[0] in parts}
