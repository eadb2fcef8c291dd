"""
How the processes of a run share a step: DDP, where each holds all weights, or FSDP2, where each holds a part of them.

Both average gradients over the processes. Under FSDP2 a block's weights are gathered when it computes and let go
afterwards; gradients, moments and the running average stay in parts. `whole` and `part_of` go from parts to a tensor
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
    """Say whether each process holds only a part of the weights."""
    return config.loop.parallel == "fsdp" and process.ranks > 1


def divide(root: nn.Module, blocks: Iterable[nn.Module], process: Process) -> None:
    """
    Leave each process its part of a module's weights, in place; they are other tensors afterwards.

    Weights come as they are kept, float32, and autocast alone decides what is computed in bfloat16: a block that came
    in bfloat16 would have its norms in it, too.

    Args:
        root: whose forward pass is that of a step; it is gathered whole but for its blocks.
        blocks: modules that are gathered one at a time.
        process: one of those that share it; all must call.

    Raises:
        UsageError: this torch is older than FSDP2.
    """
    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError as error:
        raise UsageError(
            f"loop.parallel is fsdp, which needs torch 2.6 or newer; this is {torch.__version__}. Take ddp"
        ) from error
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(process.device.type, (process.ranks,))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in (*blocks, root):
        fully_shard(module, mesh=mesh, mp_policy=policy)


def whole(tensor: Tensor, *, keep: bool = True) -> Tensor:
    """
    Give a tensor as one, gathered where each process has a part of it; then all must ask together.

    Args:
        tensor: of which this process may hold a part.
        keep: whether this process needs it; without, it only gives its part, and gets an empty tensor.
    """
    if not is_part(tensor):
        return tensor
    gathered: Tensor = tensor.full_tensor()  # type: ignore[attr-defined]
    return gathered if keep else gathered.new_empty(0)


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Give this process's part of a tensor that all hold, cut as `like` is; the tensor itself where that is whole."""
    if not is_part(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    # Without a source each process cuts its own: nothing is sent.
    return distribute_tensor(
        tensor.detach(),
        like.device_mesh,  # type: ignore[attr-defined]
        like.placements,  # type: ignore[attr-defined]
        src_data_rank=None,
    )


def is_part(tensor: Tensor) -> bool:
    """Say whether a tensor is spread over the processes."""
    return hasattr(tensor, "full_tensor")


def move_parameters(optimizer: torch.optim.Optimizer, moved: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Let an optimiser go on with other parameters, and its moments in parts where those are."""
    for group in optimizer.param_groups:
        group["params"] = [moved[parameter] for parameter in group["params"]]
    for old, new in moved.items():
        if old in optimizer.state:
            optimizer.state[new] = {name: part_of(value, new) for name, value in optimizer.state.pop(old).items()}


def together(learner: nn.Module, process: Process) -> nn.Module:
    """Wrap what each process holds whole, so that gradients are averaged over them."""
    if process.ranks == 1:
        return learner
    return nn.parallel.DistributedDataParallel(
        learner, device_ids=[process.device] if process.device.type == "cuda" else None
    )


def quiet(learner: nn.Module, yes: bool) -> AbstractContextManager[Any]:
    """Keep the gradients of the block to this process: only the last piece of a step needs those of the others."""
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
