"""Masks hide the requested share of patches, and the same patches for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskdcpt.masking import MASK_KINDS, PatchMask, blockwise_patch_mask, random_patch_mask, square_patch_mask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(mask: PatchMask, sample: int = 0) -> list[str]:
    return ["".join(".#"[int(cell)] for cell in row) for row in mask.visible[sample, 0]]


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 35), (0.25, 26), (0.5, 18), (0.75, 9), (1.0, 0)])
@pytest.mark.parametrize("kind", [random_patch_mask, blockwise_patch_mask])
def test_every_sample_shows_the_published_number_of_patches(
    kind: Callable[..., PatchMask], ratio: float, kept: int
) -> None:
    mask = kind(6, 80, 112, 16, ratio, seeded())
    assert mask.visible.shape == (6, 1, 5, 7)
    assert mask.visible.sum((1, 2, 3)).tolist() == [kept] * 6


def test_sixteen_by_sixteen_patches_show_128() -> None:
    assert random_patch_mask(2, 256, 256, generator=seeded()).visible.sum((1, 2, 3)).tolist() == [128, 128]


def test_the_patches_of_a_seed_do_not_change_between_releases() -> None:
    assert text(random_patch_mask(1, 64, 96, generator=seeded(7))) == [".#..##", "#.#...", "####.#", ".#.#.."]
    assert text(square_patch_mask(1, 64, 96, generator=seeded(7))) == ["######", "...###", "...###", "...###"]
    assert text(blockwise_patch_mask(1, 128, 128, generator=seeded(7))) == [
        ".####.##",
        "........",
        "........",
        "........",
        "######..",
        "######..",
        "######..",
        "########",
    ]


@pytest.mark.parametrize("kind", MASK_KINDS.values())
def test_drawing_leaves_the_global_generator_alone(kind: Callable[..., PatchMask]) -> None:
    state = torch.get_rng_state()
    first = kind(8, 256, 256)
    second = kind(8, 256, 256)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.visible, second.visible)


@pytest.mark.parametrize("kind", MASK_KINDS.values())
def test_samples_are_masked_independently(kind: Callable[..., PatchMask]) -> None:
    visible = kind(8, 256, 256, generator=seeded()).visible
    assert len({tuple(sample.flatten().tolist()) for sample in visible}) > 4


def test_random_patches_are_hidden_equally_often() -> None:
    shown = random_patch_mask(4000, 64, 64, ratio=0.25, generator=seeded()).visible.double().mean((0, 1))
    assert (shown - 0.75).abs().max() < 0.035


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 1000))
def test_a_square_is_one_full_rectangle_of_nearly_the_right_area(h: int, w: int, ratio: float, seed: int) -> None:
    hidden = ~square_patch_mask(1, h, w, 1, ratio, seeded(seed)).visible[0, 0]
    rows, columns = hidden.any(1).nonzero(), hidden.any(0).nonzero()
    if len(rows):
        box = hidden[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
        assert bool(box.all())
    wanted = h * w - round(h * w * (1 - ratio))
    assert abs(int(hidden.sum()) - wanted) <= max(min(h, w), wanted**0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 1000))
def test_blocks_hide_exactly_the_share(h: int, w: int, ratio: float, seed: int) -> None:
    mask = blockwise_patch_mask(2, h, w, 1, ratio, seeded(seed))
    assert mask.visible.sum((1, 2, 3)).tolist() == [round(h * w * (1 - ratio))] * 2


def test_blocks_hang_together_more_than_random_patches() -> None:
    def borders(mask: PatchMask) -> int:
        cells = mask.visible.int()
        return int(cells.diff(dim=2).abs().sum() + cells.diff(dim=3).abs().sum())

    assert borders(blockwise_patch_mask(8, 256, 256, generator=seeded())) < 0.6 * borders(
        random_patch_mask(8, 256, 256, generator=seeded())
    )


def test_a_finer_map_repeats_cells() -> None:
    mask = PatchMask(torch.tensor([[[[True, False], [False, True]]]]))
    assert mask.at(4, 6)[0, 0].int().tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[0, 0, 0, 1, 1, 1]] * 2


def test_a_coarser_cell_is_visible_when_any_of_its_cells_is() -> None:
    visible = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    visible[0, 0, 3, 0] = True
    assert PatchMask(visible).at(2, 2)[0, 0].tolist() == [[False, False], [True, False]]
    assert PatchMask(visible).at(1, 1).item()


def test_a_map_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="one must divide the other"):
        PatchMask(torch.ones(1, 1, 4, 4, dtype=torch.bool)).at(6, 4)


@pytest.mark.parametrize("size", [(250, 256), (256, 8), (0, 16)])
def test_an_image_that_patches_do_not_divide_is_refused_with_the_way_out(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pad_to_multiple"):
        random_patch_mask(1, *size)


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not 1\.5"):
        random_patch_mask(1, 16, 16, ratio=1.5)
    for wrong in (torch.ones(1, 1, 2, 2), torch.ones(2, 2, dtype=torch.bool), torch.ones(1, 3, 2, 2, dtype=torch.bool)):
        with pytest.raises(ValueError, match="a patch mask must be"):
            PatchMask(wrong)


def test_hiding_removes_even_what_is_no_number() -> None:
    mask = PatchMask(torch.tensor([[[[True, False]]]]))
    image = torch.tensor([[[[1.0, float("nan")], [2.0, float("inf")]]]], requires_grad=True)
    hidden = mask.hide(image)
    assert hidden.tolist() == [[[[1.0, 0.0], [2.0, 0.0]]]]
    hidden.sum().backward()
    assert image.grad is not None
    assert image.grad.tolist() == [[[[1.0, 0.0], [1.0, 0.0]]]]
    assert mask.hidden_share == 0.5
