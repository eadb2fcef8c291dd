from __future__ import annotations

import contextlib
import errno
import hashlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from maskdcpt.data.batches import PackedBatch, pack
from maskdcpt.data.crops import Crops, mirrored_to, random_window, turn_into
from maskdcpt.data.loader import ReaderError, crop_loader, pieces_of
from maskdcpt.data.samples import open_samples
from maskdcpt.data.sampling import Draw, Share, StepSampler, Stream, epoch_slots
from tests.maskdcpt.tiny import random_image, write_shards
from tests.uirdata.processes import note_and_wait, those_left, until
from uirdata import load_subset
from uirdata.errors import ShardError, UsageError
from uirdata.images import RgbImage, Window
from uirdata.seeding import rng_for


@dataclass(frozen=True)
class Pair:
    key: str
    lq: RgbImage
    gt: RgbImage
    label: int
    height: int = 40
    width: int = 48


class Memory:
    """Samples in memory; GT is LQ plus one, so that mixed-up pairs are detected."""

    def __init__(self, kinds: list[str]) -> None:
        self.class_names = tuple(dict.fromkeys(kinds))
        self.degradations = kinds

    def __len__(self) -> int:
        return len(self.degradations)

    def __getitem__(self, index: int) -> Pair:
        # Integers only: sines may differ in their last bit between machines.
        lq = np.random.default_rng(index).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        return Pair(str(index), lq, (lq + 1).astype(np.uint8), self.class_names.index(self.degradations[index]))

    place = __getitem__

    def pair(self, place: Pair, window: Window | None = None, *, fresh: int | None = None) -> tuple[RgbImage, RgbImage]:
        again = np.random.default_rng(fresh).integers(0, 255, place.lq.shape, np.uint8)
        top, left, height, width = window or (0, 0, 40, 48)
        part = np.s_[top : top + height, left : left + width]
        return (place.lq if fresh is None else again)[part], place.gt[part]


KINDS = ["haze"] * 3 + ["noise"] * 2 + ["jpeg"]


def test_an_epoch_contains_each_sample_as_often_as_its_ratio() -> None:
    stream = Stream(epoch_slots(KINDS, {"haze": 2, "jpeg": 5}), seed=0)
    assert stream.epoch_length == 3 * 2 + 2 + 5
    for epoch in range(3):
        drawn = [stream[epoch * 13 + n] for n in range(13)]
        assert {draw.epoch for draw in drawn} == {epoch}
        assert Counter(draw.sample for draw in drawn) == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 5}
        assert sorted(draw.slot for draw in drawn) == list(range(13))


def test_a_ratio_of_zero_skips_a_degradation() -> None:
    stream = Stream(epoch_slots(KINDS, {"haze": 0}), seed=0)
    assert {stream[n].sample for n in range(stream.epoch_length)} == {3, 4, 5}


def test_balanced_sampling_gives_each_degradation_the_same_and_no_sample_twice_more_than_another() -> None:
    stream = Stream(epoch_slots(KINDS, {}, "balanced"), seed=0)
    assert stream.epoch_length == 9
    drawn = Counter(stream[n].sample for n in range(9 * 5))
    assert [sum(drawn[i] for i in group) for group in ([0, 1, 2], [3, 4], [5])] == [15, 15, 15]
    assert drawn == {0: 5, 1: 5, 2: 5, 3: 8, 4: 7, 5: 15}


@pytest.mark.parametrize("repeat", [{"moise": 2}, {"noise": -1}])
def test_an_invalid_ratio_is_refused(repeat: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'noise'|-1 times"):
        epoch_slots(KINDS, repeat)
    with pytest.raises(UsageError, match="no sample to train on"):
        epoch_slots(KINDS, dict.fromkeys(set(KINDS), 0))


def test_epochs_are_shuffled_anew_and_the_order_never_changes() -> None:
    stream = Stream(epoch_slots(KINDS, {"haze": 4}), seed=3)
    first, second = ([stream[n + start].slot for n in range(15)] for start in (0, 15))
    assert first != second
    # A literal: an order that differs between releases breaks every run that is resumed.
    assert first == [9, 0, 11, 5, 2, 10, 8, 1, 3, 4, 7, 14, 12, 6, 13]


def delivered(share: Share, workers: int, *, start: int = 0, steps: int = 5) -> str:
    crops = Crops(Memory(KINDS), 32, seed=1)
    sampler = StepSampler(Stream(epoch_slots(KINDS, {"noise": 2}), 1), share, start=start, steps=steps)
    digest = hashlib.sha256()
    for packed in crop_loader(crops, sampler, workers=workers):
        for part in (packed.lq, packed.gt, packed.label, packed.sample):
            digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def test_pixels_and_order_do_not_depend_on_workers() -> None:
    alone = delivered(Share(4), 0)
    assert delivered(Share(4), 1) == delivered(Share(4), 2) == alone
    # A literal, as two runs of one release would also agree on a wrong seed.
    assert alone == "35b7d45106ec0101f9d058c91600cadc50cae0ba998803441de092a40a67a574"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_spares_the_workers_from_their_first_instruction_on(number: int) -> None:
    sampler = StepSampler(Stream(epoch_slots(KINDS, {}), 1), Share(4), start=0, steps=3)
    with pieces_of(crop_loader(Crops(Memory(KINDS), 32, seed=1), sampler, workers=2)) as arriving:
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        for worker in workers:
            assert worker.pid is not None
            os.kill(worker.pid, number)
        assert len(list(arriving)) == 3


def hash_pieces(pieces: Iterable[PackedBatch], kill: Mapping[int, int]) -> str:
    """Return the sha256 of all pieces; `kill`: signals that a worker gets after a number of pieces."""
    digest = hashlib.sha256()
    for number, packed in enumerate(pieces, start=1):
        for part in (packed.lq, packed.gt, packed.label, packed.sample):
            digest.update(part.numpy().tobytes())
        if number in kill:
            os.kill(multiprocessing.active_children()[0].pid or 0, kill[number])
    return digest.hexdigest()


@pytest.fixture
def _quick_look_for_dead_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))


@pytest.mark.usefixtures("_quick_look_for_dead_workers")
@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "memory ran out"), (signal.SIGBUS, "shared memory, /dev/shm"), (signal.SIGSEGV, "signal 11")],
)
def test_a_reader_that_is_killed_is_started_again_once_and_not_a_piece_differs(
    caplog: pytest.LogCaptureFixture, number: int, words: str
) -> None:
    crops, stream = Crops(Memory(KINDS), 32, seed=1), Stream(epoch_slots(KINDS, {"noise": 2}), 1)

    def load(skip: int, workers: int = 2) -> DataLoader[Any]:
        sampler = StepSampler(stream, Share(4, 2), start=3, steps=20, skip=skip)
        assert len(sampler) == 40 - skip
        return crop_loader(crops, sampler, workers=workers)

    whole = hash_pieces(load(0, 0), {})
    handler = signal.getsignal(signal.SIGCHLD)
    with pieces_of(load(0), again=load) as arriving:
        # The handler of DataLoader would raise an error in the middle of a step.
        assert signal.getsignal(signal.SIGCHLD) == handler
        assert hash_pieces(arriving, {3: number}) == whole
    (message,) = caplog.messages
    assert words in message
    with pieces_of(load(0), again=load) as arriving, pytest.raises(ReaderError, match=words):
        hash_pieces(arriving, {3: number, 23: number})
    assert not multiprocessing.active_children()


class Noting(Memory):
    """Samples that take very long; the process that reads one writes a file with its number as name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(KINDS)
        self.folder = str(folder)

    def __getitem__(self, index: int) -> Any:
        note_and_wait(self.folder)

    def place(self, index: int) -> Any:
        note_and_wait(self.folder)


def test_readers_end_when_the_run_is_killed(tmp_path: Path) -> None:
    stream = Stream(epoch_slots(KINDS, {"noise": 2}), 1)
    parent = os.fork()
    if not parent:
        with contextlib.suppress(BaseException):
            sampler = StepSampler(stream, Share(4, 2), start=3, steps=20)
            with pieces_of(crop_loader(Crops(Noting(tmp_path), 32, seed=1), sampler, workers=2)) as arriving:
                next(arriving)
        os._exit(1)
    assert until(lambda: len(list(tmp_path.iterdir())) == 2)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert those_left([int(path.name) for path in tmp_path.iterdir()]) == []


class NoRoom(Memory):
    """Samples whose batch does not fit into shared memory, or into memory."""

    error: Exception = MemoryError()

    def __getitem__(self, index: int) -> Any:
        raise self.error

    def place(self, index: int) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out"),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left"), "--shm-size"),
    ],
)
def test_a_reader_without_memory_says_which(error: Exception, words: str) -> None:
    samples = NoRoom(KINDS)
    samples.error = error
    sampler = StepSampler(Stream(epoch_slots(KINDS, {}), 1), Share(4), start=0, steps=3)
    loader = crop_loader(Crops(samples, 32, seed=1), sampler, workers=1)
    with pieces_of(loader) as arriving, pytest.raises(ReaderError, match=words):
        next(arriving)


def test_readers_that_cannot_be_started_are_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = StepSampler(Stream(epoch_slots(KINDS, {}), 1), Share(4), start=0, steps=3)
    loader = crop_loader(Crops(Memory(KINDS), 32, seed=1), sampler, workers=2)

    def no_process(*_: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", no_process)
    with pytest.raises(ReaderError, match=r"cannot be started .*data\.workers to less than 2"), pieces_of(loader):
        pass


@pytest.mark.parametrize(("ranks", "pieces"), [(2, 1), (2, 2), (4, 1), (1, 4)])
def test_ranks_and_pieces_share_one_and_the_same_batch(ranks: int, pieces: int) -> None:
    stream = Stream(epoch_slots(KINDS, {}), 1)
    (whole,) = StepSampler(stream, Share(8), start=3, steps=1)
    together: dict[int, list[object]] = {}
    for rank in range(ranks):
        share = Share(8, pieces, rank, ranks)
        for piece, drawn in enumerate(StepSampler(stream, share, start=3, steps=1)):
            together[share.slice(piece).start] = list(drawn)
            assert list(whole[share.slice(piece)]) == drawn
    assert [draw for start in sorted(together) for draw in together[start]] == whole


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 16 does not divide into 3 ranks x 2 pieces"):
        Share(16, 2, 0, 3)


def test_resuming_in_the_middle_yields_the_rest() -> None:
    stream = Stream(epoch_slots(KINDS, {}), 1)
    whole = list(StepSampler(stream, Share(4), start=0, steps=6))
    assert list(StepSampler(stream, Share(4), start=8, steps=4)) == whole[2:]


def test_windows_of_a_pair_lie_at_the_same_place() -> None:
    crops = Crops(Memory(KINDS), 32, seed=1)
    stream = Stream(epoch_slots(KINDS, {}), 1)
    for n in range(12):
        lq, gt, _, _ = crops[stream[n]]
        assert lq.shape == gt.shape == (32, 32, 3)
        assert np.array_equal(lq + 1, gt)


def test_repeats_of_a_sample_and_its_epochs_have_other_windows() -> None:
    crops = Crops(Memory(["noise"]), 16, seed=1)
    stream = Stream(epoch_slots(["noise"], {"noise": 4}), 1)
    windows = {crops[stream[n]][0].tobytes() for n in range(8)}
    assert len(windows) == 8


def test_the_eight_turns_are_eight_and_equally_likely() -> None:
    image = random_image(0, 8, 8)
    turns = [np.empty_like(image) for _ in range(8)]
    for turn, into in enumerate(turns):
        turn_into(into, image, turn)
        assert np.array_equal(into, np.rot90(image[:, ::-1] if turn >= 4 else image, turn % 4))
    assert len({into.tobytes() for into in turns}) == 8
    counts = Counter(int(rng_for(1, f"0/{slot}", "turn").integers(8)) for slot in range(4000))
    assert min(counts.values()) > 430


def test_a_turn_of_what_is_not_square_or_of_another_size_is_refused() -> None:
    for into, image in (((8, 8), (8, 9)), ((8, 9), (8, 9))):
        with pytest.raises(ValueError, match="a square image"):
            turn_into(np.empty((*into, 3), np.uint8), random_image(0, *image), 0)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_only_sides_that_are_too_short_are_padded_by_reflection(height: int, width: int, size: int) -> None:
    image = random_image(1, max(height, 2), max(width, 2))[:height, :width]
    padded = mirrored_to(image, size)
    assert padded.shape == (max(height, size), max(width, size), 3)
    assert np.array_equal(padded[:height, :width], image)
    if height > 1 and padded.shape[0] > height:
        assert np.array_equal(padded[height, :width], image[height - 2])


def test_an_image_that_is_large_enough_is_never_padded() -> None:
    image = random_image(2, 33, 64)
    assert mirrored_to(image, 32) is image


def test_every_window_of_an_image_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    windows = {random_window(10, 12, 8, rng) for _ in range(500)}
    assert windows == {(y, x, 8, 8) for y in range(3) for x in range(5)}
    assert random_window(5, 12, 12, rng) == (0, 0, 5, 12)


def test_a_batch_travels_as_bytes_and_arrives_as_numbers() -> None:
    packed = pack([(random_image(0), random_image(1), 2, 7)])
    assert packed.lq.dtype == torch.uint8
    batch = packed.unpack("cpu")
    assert batch.lq.shape == (1, 3, 40, 48)
    assert batch.lq.dtype == torch.float32
    assert np.array_equal((batch.gt[0].permute(1, 2, 0) * 255).round().numpy(), random_image(1))
    assert batch.label.tolist() == [2]
    assert packed.unpack("cpu", channels_last=True).lq.is_contiguous(memory_format=torch.channels_last)


def test_fresh_lqs_differ_between_draws_and_are_the_same_for_the_same_draw() -> None:
    samples = Memory(["noise"])
    fixed, fresh = Crops(samples, 40, seed=1, augment=False), Crops(samples, 40, seed=1, augment=False, fresh=True)
    first, second = Draw(0, 0, 0), Draw(1, 0, 0)
    assert np.array_equal(fresh[first][0], fresh[first][0])
    assert not np.array_equal(fresh[first][0], fresh[second][0])
    # The windows are those of the run without fresh LQs.
    assert all(np.array_equal(fixed[draw][1], fresh[draw][1]) for draw in (first, second))


def test_shards_without_a_sample_of_the_subset_are_a_usage_error_and_missing_ones_are_not(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards")
    with pytest.raises(UsageError, match="or name no subset, which takes all that the shards hold"):
        open_samples(shards, "train", load_subset("5d"))
    # The class of the error has to decide: a path may contain any words.
    gone = tmp_path / "this folder holds no sample of 5d"
    with pytest.raises(ShardError, match="no such folder"):
        open_samples(gone, "train", load_subset("5d"))
