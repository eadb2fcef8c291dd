"""
How the processes of a run share a step: DDP, where each holds all weights, or FSDP2, where each holds a part of them.

Both average gradients over the processes. Under FSDP2 a block's weights are gathered when it computes and freed
afterwards; gradients, moments and the EMA stay sharded. `whole` and `part_of` convert from parts to a whole tensor
and back, so that a checkpoint is the same file either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig
from uirdata.errors import UsageError

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


def divides(config: TrainConfig, process: Process) -> bool:
    """Return whether each process holds only a part of the weights (FSDP2)."""
    return config.loop.parallel == "fsdp" and process.ranks > 1


def divide(root: nn.Module, blocks: Iterable[nn.Module], process: Process) -> None:
    """
    Shard a module's weights over the processes with FSDP2, in place; the parameters are other tensors afterwards.

    Weights are gathered in float32, as they are stored, and autocast alone decides what is computed in bfloat16: a
    block that was gathered in bfloat16 would compute its normalisations in bfloat16, too.

    Args:
        root: the module whose forward pass is that of a step; what is not in its blocks is gathered as one.
        blocks: modules that are gathered one at a time.
        process: this process; all processes of the run must call.

    Raises:
        UsageError: this torch is older than 2.6 and has no FSDP2.
    """
    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError as error:
        raise UsageError(
            f"loop.parallel is fsdp, which needs torch 2.6 or newer; this is {torch.__version__}. Set it to ddp"
        ) from error
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(process.device.type, (process.ranks,))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in (*blocks, root):
        fully_shard(module, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor, *, keep: bool = True) -> Tensor:
    """
    Return a tensor as a whole; a sharded one is gathered, which all processes must do together.

    Args:
        tensor: this process may hold only a part of it.
        keep: whether this process needs the tensor; if not, it only sends its part and gets an empty tensor.
    """
    if not is_part(tensor):
        return tensor
    gathered: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    return gathered if keep else gathered.new_empty(0)


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a tensor that all hold, divided like `like`; the tensor if `like` is whole."""
    if not is_part(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # With no source rank each process slices its own copy: nothing is sent.
    return distribute_tensor(
        tensor.detach(),
        like.device_mesh,  # type: ignore[attr-defined]
        like.placements,  # type: ignore[attr-defined]
        src_data_rank=None,
    )


def is_part(tensor: Tensor) -> bool:
    """Return whether a tensor is sharded over the processes."""
    return hasattr(tensor, "full_tensor")


def replace_parameters(optimizer: torch.optim.Optimizer, replacements: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Replace an optimiser's parameters, old to new; its moments are sharded where the new parameters are."""
    for group in optimizer.param_groups:
        group["params"] = [replacements[parameter] for parameter in group["params"]]
    for old, new in replacements.items():
        if old in optimizer.state:
            optimizer.state[new] = {name: part_of(value, new) for name, value in optimizer.state.pop(old).items()}


def together(learner: nn.Module, process: Process) -> nn.Module:
    """Wrap a module that each process holds as a whole in DDP, so that gradients are averaged over the processes."""
    if process.ranks == 1:
        return learner
    return nn.parallel.DistributedDataParallel(
        learner, device_ids=[process.device] if process.device.type == "cuda" else None
    )


def quiet(learner: nn.Module, yes: bool) -> AbstractContextManager[Any]:
    """
    Return a context in which gradients are not synchronised between processes, where `yes`.

    Only the last piece of a step needs the gradients of the other processes.
    """
    if not yes:
        return nullcontext()
    if isinstance(learner, nn.parallel.DistributedDataParallel):
        context: AbstractContextManager[Any] = learner.no_sync()
        return context
    if hasattr(learner, "set_requires_gradient_sync"):
        return _unsynced(cast("FSDPModule", learner))
    return nullcontext()


@contextmanager
def _unsynced(learner: FSDPModule) -> Iterator[None]:
    learner.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        learner.set_requires_gradient_sync(True)
