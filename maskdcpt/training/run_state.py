"""The state that a run is resumed from: networks, optimiser, EMA and counters."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig, WeightKind
from maskdcpt.networks.networks import NETWORKS, Networks, Part, blocks_of, save_memory
from maskdcpt.training.ema import EmaWeights
from maskdcpt.training.initial_weights import clear_head, favour_contrast, freeze_idle
from maskdcpt.training.optim import create_optimizer
from maskdcpt.training.parallel import divide, part_of, replace_parameters, whole
from maskdcpt.training.stages import check_sizes
from maskdcpt.weights.build import load_exactly
from maskdcpt.weights.checkpoints import STATE, Checkpoint, CheckpointError, check_same_classes
from maskdcpt.weights.load import load_checkpoint
from uirdata.validators import naming, whole_number


class RunState:
    """
    All that changes during a run.

    Attributes:
        networks: the weights.
        optimizer: with its moments.
        ema: the EMA of the weights; None if the run has none.
        class_names: the label order.
        step: the number of completed steps.
        samples: the number of samples that were seen.
        skipped: the number of steps that were skipped because a loss or gradient was NaN or infinite.
        data: the digest of the samples that the run is trained on.
    """

    def __init__(
        self,
        networks: Networks,
        optimizer: torch.optim.Optimizer,
        ema: EmaWeights | None,
        class_names: tuple[str, ...],
        data: str = "",
    ) -> None:
        self.networks = networks
        self.optimizer = optimizer
        self.ema = ema
        self.class_names = class_names
        self.data = data
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
        Shard the weights, the moments and the EMA over the processes; errors as `parallel.divide`.

        Args:
            root: contains the networks, and computes the losses.
            process: this process; all processes of the run must call.
        """
        # The parameters are replaced by other tensors; the optimiser refers to them by identity and needs the new ones.
        before = dict(self.networks.named_parameters())
        self._whole = copy.deepcopy(self.networks).requires_grad_(False) if process.leads else self.networks
        divide(root, blocks_of(self.networks.backbone), process)
        after = dict(self.networks.named_parameters())
        replace_parameters(self.optimizer, {before[name]: after[name] for name in before})
        if self.ema is not None:
            self.ema.weights = {name: part_of(w, after[name]) for name, w in self.ema.weights.items()}

    @contextmanager
    def evaluation_networks(self) -> Iterator[Networks]:
        """
        Return a context with the networks in evaluation mode, with the EMA of the weights if the run has one.

        Where weights are sharded all processes must call, and only the leading one can use the networks.
        """
        averaged = self.ema.weights if self.ema else None
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
        Return the weights under their names in a checkpoint.

        Args:
            keep: False for a process that only sends its part of sharded weights; all processes must call together.
        """
        named = {f"params.{name}": weight for name, weight in self.networks.named_weights().items()}
        if self.ema is not None:
            named |= {f"params_ema.{name}": weight for name, weight in self.ema.weights.items()}
        return {name: self._kept(weight, keep) for name, weight in named.items()}

    def _kept(self, tensor: Tensor, keep: bool) -> Tensor:
        # Moved to the host one by one: where weights are sharded, the whole of them may not fit on the device.
        return whole(tensor.detach(), keep=keep).cpu() if self.divided else tensor

    def _moments(self, keep: bool) -> dict[str, Any]:
        held = self.optimizer.state_dict()
        state = {
            index: {name: self._kept(value, keep) for name, value in values.items()}
            for index, values in held["state"].items()
        }
        return {**held, "state": state}

    def capture(self, *, keep: bool = True) -> dict[str, Any]:
        """Return what a resumed run needs besides the weights, as plain values and tensors. `keep` as in `tensors`."""
        kind, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
        return {
            "step": self.step,
            "samples": self.samples,
            "skipped": self.skipped,
            "class_names": list(self.class_names),
            "data": self.data,
            "optimizer": self._moments(keep),
            # The loop does not draw from these generators, but code that a caller adds may.
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python": random.getstate(),
            "numpy": (kind, np.asarray(keys).tolist(), position, has_gauss, gauss),
        }

    def restore(self, checkpoint: Checkpoint, state: Mapping[str, Any]) -> None:
        """
        Restore what `tensors` and `capture` returned, in place.

        Raises:
            CheckpointError: the checkpoint has other networks or labels, or its state is not that of such a run.
        """
        check_same_classes(self.class_names, checkpoint, what="the run")
        _load(self.networks, checkpoint, NETWORKS, "params")
        where = str(checkpoint.path.with_name(STATE))
        try:
            with naming(CheckpointError, where):
                step, samples, skipped = (whole_number(state[name]) for name in ("step", "samples", "skipped"))
            if self.ema is not None:
                self.ema.load(checkpoint.params_ema)
            self.optimizer.load_state_dict(state["optimizer"])
            self._check_moments(where)
            torch.set_rng_state(state["torch"])
            if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(state["cuda"])
            random.setstate(state["python"])
            np.random.set_state(state["numpy"])  # noqa: NPY002
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise CheckpointError(f"{where}: is not the state of this run ({error!r})") from error
        if step != checkpoint.step:
            raise CheckpointError(f"{where}: is of step {step}, and {checkpoint.path.name} of step {checkpoint.step}")
        self.step, self.samples, self.skipped = step, samples, skipped

    def _check_moments(self, where: str) -> None:
        """Refuse moments of other shapes than the weights: the optimiser would fail at its first step."""
        for weight, held in self.optimizer.state.items():
            for name, value in held.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != weight.shape:
                    raise CheckpointError(
                        f"{where}: {name} has the shape {tuple(value.shape)}, its weights {tuple(weight.shape)}"
                    )


def prepare_state(
    config: TrainConfig, class_names: tuple[str, ...], device: torch.device, *, resume: bool = False, data: str = ""
) -> RunState:
    """
    Return networks, optimiser and EMA: new, or from the checkpoint that the configuration names.

    Args:
        config: of the run.
        class_names: the label order.
        device: of the networks.
        resume: whether all of it is restored from a checkpoint of the run afterwards.
        data: the digest of the samples.

    Raises:
        UsageError: backbone, sizes and crops do not match.
        CheckpointError: a checkpoint is missing, truncated, or of other networks or labels.
    """
    networks = Networks.create(config, len(class_names)).to(device)
    check_sizes(config, networks.backbone)
    freeze_idle(networks, config)
    if config.loop.checkpointing:
        save_memory(networks.backbone)
    if not resume and config.init.contrast:
        favour_contrast(networks.backbone)
    initial = _initial(config, networks, class_names) if not resume else None
    if not resume and config.init.identity:
        clear_head(networks.backbone)
    heads = [head for head in (networks.classifier, networks.reconstruction) if head is not None]
    optimizer = create_optimizer(networks.backbone, heads, config.optimizer)
    ema = None
    if config.optimizer.ema_decay:
        weights = networks.named_weights()
        ema = EmaWeights(weights, decay=config.optimizer.ema_decay, warmup=config.optimizer.ema_warmup)
        if initial is not None and initial.params_ema:
            # As in DCPT's release: the EMA of fine-tuning starts from the EMA of pre-training.
            wanted = _parts(config)
            ema.load({**ema.weights, **_chosen(initial.params_ema, wanted, ema.weights)})
    return RunState(networks, optimizer, ema, class_names, data)


def _initial(config: TrainConfig, networks: Networks, class_names: tuple[str, ...]) -> Checkpoint | None:
    if not config.init.checkpoint:
        return None
    checkpoint = load_checkpoint(config.init.checkpoint)
    parts = _parts(config)
    if "classifier" in parts and networks.classifier is not None:
        check_same_classes(class_names, checkpoint, what="the run")
    _load(networks, checkpoint, parts, config.init.weights)
    return checkpoint


def _load(networks: Networks, checkpoint: Checkpoint, parts: tuple[Part, ...], kind: WeightKind) -> None:
    for part in parts:
        module = getattr(networks, part)
        if module is not None:
            load_exactly(module, checkpoint, part, kind)


def _parts(config: TrainConfig) -> tuple[Part, ...]:
    return NETWORKS if config.init.parts == "all" else ("backbone",)


def _chosen(weights: Mapping[str, Tensor], parts: tuple[str, ...], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: w for name, w in weights.items() if name in known and name.split(".", 1)[0] in parts}
