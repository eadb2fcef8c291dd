"""
Judging a checkpoint on held-out samples: a row for each image, and means that say how they were taken.

The protocol is that of the published test files: the whole image, padded by reflection to what the network needs and
cut back, output clipped to 0..1, PSNR and SSIM on RGB in float64, averaged over images within a degradation and then
over degradations. `lq_psnr` and `lq_ssim` say the same of the image that was given, so a table shows what was gained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskdcpt.checkpoints import Checkpoint, load_checkpoint
from maskdcpt.config import DataConfig
from maskdcpt.distributed import chosen_device
from maskdcpt.loading import Item, Samples, open_samples
from maskdcpt.metrics import psnr, ssim
from maskdcpt.networks import Networks, networks_of
from maskdcpt.scores import EvalReport, ImageScore, Means, Protocol, mean_of, means_of
from maskdcpt.tiling import pad_to_multiple, restore_in_tiles
from maskdcpt.validation import MOST_DB, to_tensor
from uirdata.errors import ImageError, ShardError, UsageError
from uirdata.progress import Progress, Silent
from uirdata.storage.tables import storage_error, writing

ROWS = "images.jsonl"
TABLE = "images.parquet"
REPORT = "report.json"


def evaluate(
    checkpoint: Checkpoint | str | Path,
    shards: str | Path | Samples,
    *,
    split: str = "test",
    subset: str = "",
    out: Path | None = None,
    protocol: Protocol | None = None,
    classifier: Checkpoint | str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> EvalReport:
    """
    Restore and name every sample of a split, and compare with the GT.

    A pre-trained checkpoint has no last layer that was trained to restore: it is judged by its classifier alone.

    Args:
        checkpoint: or where it lies.
        shards: a shard folder, or samples that are open already.
        split: of the shards.
        subset: of the shards; "" takes all that the split holds.
        out: folder for a row per image (images.parquet) and the report; an evaluation that was interrupted goes on from
            its rows when it is the same one.
        protocol: the published one when None.
        classifier: checkpoint whose classifier names the degradations; the checkpoint's own when None.
        device: auto, cpu, cuda, ...
        progress: told about images.

    Raises:
        UsageError: there is no such split, nothing to judge, or `out` holds another evaluation.
        UirError: the checkpoint or the shards cannot be read, or `out` cannot be written.
    """
    chosen = protocol or Protocol()
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    naming = loaded if classifier is None else classifier
    naming = naming if isinstance(naming, Checkpoint) else load_checkpoint(naming)
    where = str(shards) if isinstance(shards, (str, Path)) else "samples in memory"
    if isinstance(shards, (str, Path)):
        samples = open_samples(DataConfig(shards=str(shards), subset=subset), split)
    else:
        samples = shards
    judge = _Judge(loaded, naming, samples, chosen, chosen_device(device))
    indices = _chosen(samples, chosen.limit)
    if not indices:
        raise UsageError(f"{where} has no sample of the split {split}")
    rows = _Rows(out, _identity(loaded, naming, where, split, subset, chosen, samples))
    found, unreadable = _judge_all(judge, samples, indices, rows, progress or Silent())
    report = _report(loaded, where, split, chosen, judge.class_names, found, unreadable)
    rows.finish(report)
    return report


class _Judge:
    """The networks of an evaluation, on their device."""

    def __init__(
        self, restoring: Checkpoint, naming: Checkpoint, samples: Samples, protocol: Protocol, device: torch.device
    ) -> None:
        self._protocol = protocol
        self._device = device
        restores = restoring.restores
        self._restorer = networks_of(restoring, protocol.weights).to(device).eval() if restores else None
        named = networks_of(naming, protocol.weights).to(device).eval()
        self._namer = named if named.classifier is not None else None
        self.class_names = naming.class_names if self._namer else ()
        if self._namer and self.class_names != samples.class_names:
            raise UsageError(
                f"{naming.path}: its labels are {', '.join(self.class_names)}, those of the shards are "
                f"{', '.join(samples.class_names)}; evaluate on the subset that it was trained on"
            )
        if self._restorer is None and self._namer is None:
            raise UsageError(
                f"{restoring.path}: was pre-trained without a classifier and does not restore; fine-tune it first"
            )

    @torch.inference_mode()
    def judge(self, item: Item, degradation: str) -> ImageScore:
        lq, gt = (to_tensor(image).to(self._device) for image in (item.lq, item.gt))
        restored = None
        if self._restorer is not None:
            restored = restored_image(self._restorer, lq, self._protocol.tile_px).clamp(0, 1)
        record = getattr(item, "record", None)
        return ImageScore(
            key=item.key,
            degradation=degradation,
            level=getattr(record, "level", ""),
            source=getattr(record, "source", ""),
            height=lq.shape[-2],
            width=lq.shape[-1],
            psnr=None if restored is None else self._psnr(restored, gt),
            ssim=None if restored is None else self._ssim(restored, gt),
            lq_psnr=self._psnr(lq, gt),
            lq_ssim=self._ssim(lq, gt),
            named=self._name(lq),
        )

    def _name(self, lq: Tensor) -> str:
        if self._namer is None:
            return ""
        return self.class_names[named_class(self._namer, lq)]

    def _psnr(self, image: Tensor, gt: Tensor) -> float:
        return min(MOST_DB, float(psnr(image, gt, **self._comparison())))

    def _ssim(self, image: Tensor, gt: Tensor) -> float | None:
        if min(image.shape[-2:]) - 2 * self._protocol.crop_border < 11:
            return None
        return float(ssim(image, gt, **self._comparison()))

    def _comparison(self) -> dict[str, Any]:
        p = self._protocol
        return {"quantise": p.quantise, "y_channel": p.y_channel, "crop_border": p.crop_border}


def restored_image(networks: Networks, lq: Tensor, tile_px: int) -> Tensor:
    """Restore (1, 3, H, W), whole where `tile_px` is 0 or larger than the image."""
    backbone = networks.backbone
    if tile_px:
        overlap, multiple = min(64, tile_px // 4), backbone.multiple
        return restore_in_tiles(
            backbone.restore, lq, tile_px=tile_px, overlap_px=overlap, multiple=multiple, rim_px=overlap // 4
        )
    return backbone.restore(lq)


def named_class(networks: Networks, lq: Tensor) -> int:
    """Name the degradation of (1, 3, H, W): the label whose logit is largest, on the unmasked image padded to fit."""
    features = networks.encode(pad_to_multiple(lq, networks.backbone.multiple)).features
    return int(networks.classify(features).argmax(dim=1)[0])


def _judge_all(
    judge: _Judge, samples: Samples, indices: Sequence[int], rows: _Rows, progress: Progress
) -> tuple[list[ImageScore], dict[str, str]]:
    found: list[ImageScore] = []
    unreadable: dict[str, str] = {}
    progress.begin("evaluate", len(indices))
    try:
        for index in indices:
            score = rows.known.get(index)
            if score is None:
                try:
                    item = samples[index]
                except (ShardError, ImageError) as error:
                    unreadable[str(index)] = str(error)
                    progress.note(str(error))
                    continue
                score = judge.judge(item, str(samples.degradations[index]))
                rows.add(index, score)
            found.append(score)
            progress.advance("evaluate")
    finally:
        progress.end("evaluate")
    if not found:
        raise ShardError(f"no sample could be read; the first said: {next(iter(unreadable.values()))}")
    return found, unreadable


class _Rows:
    """The rows of an evaluation in a folder, written one by one, so that an interrupted one goes on."""

    def __init__(self, folder: Path | None, identity: Mapping[str, Any]) -> None:
        self.known: dict[int, ImageScore] = {}
        self._folder = folder
        if folder is None:
            return
        path = folder / ROWS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            if lines and _parsed(lines[0]) != identity:
                raise UsageError(
                    f"{folder} holds another evaluation (other weights, samples or protocol); choose another"
                )
            # A killed run may leave half a line; what is kept is written anew.
            for line in lines[1:]:
                row = _parsed(line)
                if row is not None:
                    index = row.pop("index")
                    self.known[index] = ImageScore(**row)
            with writing(path) as partial:
                kept = [{"index": index, **asdict(score)} for index, score in self.known.items()]
                partial.write_text("".join(json.dumps(row) + "\n" for row in [identity, *kept]), encoding="utf-8")
        except OSError as error:
            raise storage_error(path, error) from error

    def add(self, index: int, score: ImageScore) -> None:
        if self._folder is None:
            return
        path = self._folder / ROWS
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"index": index, **asdict(score)}) + "\n")
        except OSError as error:
            raise storage_error(path, error) from error

    def finish(self, report: EvalReport) -> None:
        if self._folder is None:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        with writing(self._folder / TABLE) as partial:
            pq.write_table(pa.Table.from_pylist([asdict(row) for row in report.images]), partial)
        with writing(self._folder / REPORT) as partial:
            partial.write_text(json.dumps(report.to_document(), indent=2) + "\n", encoding="utf-8")


def _report(
    checkpoint: Checkpoint,
    where: str,
    split: str,
    protocol: Protocol,
    class_names: tuple[str, ...],
    found: list[ImageScore],
    unreadable: dict[str, str],
) -> EvalReport:
    names = list(dict.fromkeys(row.degradation for row in found))
    parts = tuple(means_of((row for row in found if row.degradation == name), name) for name in names)
    overall = Means(
        name="mean",
        images=len(found),
        psnr=mean_of(part.psnr for part in parts),
        lq_psnr=mean_of(part.lq_psnr for part in parts) or 0.0,
        ssim=mean_of(part.ssim for part in parts),
        lq_ssim=mean_of(part.lq_ssim for part in parts),
        accuracy=mean_of(part.accuracy for part in parts),
    )
    return EvalReport(
        str(checkpoint.path), where, split, protocol, class_names, tuple(found), parts, overall, unreadable
    )


def _identity(
    restoring: Checkpoint,
    naming: Checkpoint,
    where: str,
    split: str,
    subset: str,
    protocol: Protocol,
    samples: Samples,
) -> dict[str, Any]:
    digests = []
    for checkpoint in (restoring, naming):
        digest = hashlib.sha256()
        with checkpoint.path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        digests.append(digest.hexdigest())
    labels = hashlib.sha256("\n".join(str(name) for name in samples.degradations).encode()).hexdigest()
    return {
        "weights": digests[0],
        "classifier": digests[1],
        "shards": str(Path(where).resolve()) if Path(where).exists() else where,
        "split": split,
        "subset": subset,
        "samples": labels,
        "protocol": asdict(replace(protocol, limit=0)),
    }


def _chosen(samples: Samples, limit: int) -> list[int]:
    taken: dict[str, int] = {}
    chosen = []
    for index, name in enumerate(samples.degradations):
        taken[str(name)] = taken.get(str(name), 0) + 1
        if not limit or taken[str(name)] <= limit:
            chosen.append(index)
    return chosen


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
