from __future__ import annotations

import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.uirdata.degradations.synthetic_images import flat, random_image, scene
from uirdata.degradations.defocus_blur import blur_by_depth, defocus
from uirdata.degradations.downsample_noise_blur_jpeg import rescale
from uirdata.degradations.jpeg import encode_jpeg, jpeg
from uirdata.degradations.light import to_light
from uirdata.degradations.mosaic import PHASES, mosaic
from uirdata.degradations.motion_blur import average_frames, camera_shake, linear_motion, random_trajectory, trajectory
from uirdata.degradations.resampling import resize
from uirdata.seeding import rng_for

# ITU-T T.81, annex K, tables K.1 and K.2, by rows.
LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def rng(purpose="blur"):
    return rng_for(0, "test", purpose)


def segments(stream: bytes):
    """Yield the markers of a JPEG stream up to the scan: (marker, payload)."""
    place = 2
    while stream[place + 1] != 0xDA:
        length = int.from_bytes(stream[place + 2 : place + 4], "big")
        yield stream[place + 1], stream[place + 4 : place + 2 + length]
        place += 2 + length


def zigzag():
    return sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))


@pytest.mark.parametrize("quality", [5, 10, 25, 50, 75, 95])
def test_the_stream_carries_the_quantisation_tables_of_its_quality(quality):
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    found = {}
    for marker, payload in segments(encode_jpeg(scene(), quality=quality)):
        if marker == 0xDB:
            for start in range(0, len(payload), 65):
                found[payload[start]] = list(payload[start + 1 : start + 65])
    for index, table in enumerate((LUMINANCE, CHROMINANCE)):
        base = [int(value) for value in table.split()]
        expected = [min(255, max(1, (value * scale + 50) // 100)) for value in base]
        assert found[index] == [expected[place] for place in zigzag()]


@pytest.mark.parametrize(("subsampling", "factors"), [("420", 0x22), ("422", 0x21), ("444", 0x11)])
def test_the_stream_carries_the_asked_subsampling(subsampling, factors):
    frame = next(
        payload
        for marker, payload in segments(encode_jpeg(scene(), quality=50, subsampling=subsampling))
        if marker == 0xC0
    )
    # After precision, height, width and count: per component its id, factors and table.
    assert [frame[6 + 3 * i + 1] for i in range(3)] == [factors, 0x11, 0x11]


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_the_pixels_are_those_that_another_decoder_gives(quality):
    gt = scene(64, 80)
    other = np.asarray(Image.open(io.BytesIO(encode_jpeg(gt, quality=quality))).convert("RGB")).astype(int)
    # libjpeg's decoders may differ by the rounding of their colour conversion.
    assert np.abs(jpeg(gt, rng(), quality=quality).astype(int) - other).max() <= 2


def test_colours_keep_their_places():
    for colour in ((200, 100, 50), (50, 100, 200)):
        assert np.abs(jpeg(flat(colour), rng(), quality=95).astype(int) - colour).max() <= 2
        assert np.array_equal(mosaic(flat(colour, 16, 16), rng()), flat(colour, 16, 16))


def test_the_grid_of_blocks_starts_where_asked():
    gt = scene(64, 64)
    shifted = jpeg(gt, rng(), quality=20, shift_x=3, shift_y=5)
    padded = np.pad(gt, ((5, 0), (3, 0), (0, 0)), mode="edge")
    assert np.array_equal(shifted, jpeg(padded, rng(), quality=20)[5:, 3:])


@pytest.mark.parametrize("parameters", [{"quality": 0}, {"quality": 101}, {"quality": 50, "subsampling": "411"}])
def test_what_jpeg_does_not_know_is_refused(parameters):
    with pytest.raises(ValueError, match="expected"):
        jpeg(scene(), rng(), **parameters)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (12, 13), (32, 32)])
@pytest.mark.parametrize("method", ["bilinear", "edge-aware", "none"])
@pytest.mark.parametrize("phase", list(PHASES))
def test_a_mosaic_keeps_every_sampled_value_exactly(phase, method, size):
    gt = random_image(*size)
    lq = mosaic(gt, rng(), phase=phase, method=method)
    for row in (0, 1):
        for column in (0, 1):
            channel = "rgb".index(phase[2 * row + column])
            assert np.array_equal(lq[row::2, column::2, channel], gt[row::2, column::2, channel])


def test_bilinear_interpolation_is_the_mean_of_the_neighbours():
    gt = random_image(12, 12)
    lq = mosaic(gt, rng(), phase="rggb", method="bilinear").astype(int)
    wide = gt.astype(int)
    # At a red pixel, green is the mean of the four beside it and blue of the four at its corners.
    green = (wide[3, 4, 1] + wide[5, 4, 1] + wide[4, 3, 1] + wide[4, 5, 1]) / 4
    blue = (wide[3, 3, 2] + wide[3, 5, 2] + wide[5, 3, 2] + wide[5, 5, 2]) / 4
    assert abs(lq[4, 4, 1] - green) <= 0.5
    assert abs(lq[4, 4, 2] - blue) <= 0.5


@pytest.mark.parametrize("shake", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("length", [5.0, 30.0, 60.0])
def test_a_trajectory_has_the_stated_length_around_its_middle(length, shake):
    path = trajectory(rng(f"{shake}"), length=length, shake=shake)
    assert np.hypot(*np.diff(path, axis=0).T).sum() == pytest.approx(length, rel=1e-9)
    assert np.abs(path.mean(axis=0)).max() < 1e-9
    ends = math.dist(path[0], path[-1])
    assert ends == pytest.approx(length, rel=1e-6) if shake == 0 else ends < length


def test_motion_along_rows_leaves_columns_alone():
    gt = np.repeat(random_image(30, 1), 40, axis=1)
    assert np.array_equal(linear_motion(gt, rng(), length=15.0, angle=0.0), gt)
    assert not np.array_equal(linear_motion(gt, rng(), length=15.0, angle=90.0), gt)


def test_a_random_path_is_another_for_another_seed():
    gt = scene()
    assert not np.array_equal(
        random_trajectory(gt, rng("one"), length=20.0), random_trajectory(gt, rng("two"), length=20.0)
    )


@pytest.mark.parametrize(("curve", "middle"), [("srgb", 187), ("gamma-2p2", 185), ("linear", 127)])
def test_frames_are_averaged_in_the_light_of_the_camera_curve(curve, middle):
    # Half of the light of level 254: 186.8 by the sRGB curve, 254 * 0.5**(1 / 2.2) = 185.4, and 127.
    assert np.unique(average_frames([flat(0), flat(254)], curve=curve)) == middle
    assert np.array_equal(average_frames([scene()], curve=curve), scene())


def test_a_camera_that_holds_still_sees_the_image():
    gt = scene()
    assert np.abs(camera_shake(gt, rng(), length=1e-6).astype(int) - gt).max() <= 2


def test_a_camera_that_turns_blurs_the_border_more_than_the_middle():
    gt = random_image(129, 129)
    lq = camera_shake(gt, rng(), length=1e-6, turn=6.0)
    error = np.abs(lq.astype(int) - gt)
    assert error[62:67, 62:67].mean() < 0.6 * error[:8].mean()


@pytest.mark.parametrize(
    ("moves", "reach"),
    [({"length": 60.0, "shake": 0.0}, 60.0), ({"turn": 8.0}, 110 * math.radians(8.0)), ({"zoom": 0.1}, 110 * 0.1)],
    ids=str,
)
def test_a_light_before_a_moving_camera_becomes_a_row_of_lights_over_its_way(moves, reach):
    gt = flat(0, 257, 257)
    # In the middle for a translation, 110 pixels beside it for a rotation and a zoom.
    column = 128 if "length" in moves else 238
    gt[127:130, column - 1 : column + 2] = 255
    light = to_light(camera_shake(gt, rng(), **{"length": 1e-6, "shake": 0.0, **moves}), "gamma-2p2")[..., 0]
    rows, columns = np.mgrid[0:257, 0:257]
    total = light.sum()
    assert total == pytest.approx(9, rel=0.04)
    variance = sum((light * place**2).sum() / total - ((light * place).sum() / total) ** 2 for place in (rows, columns))
    # Eleven points at equal steps, and the light's own nine pixels.
    assert variance == pytest.approx(reach**2 / 12 * 12 / 10 + 2 * 8 / 12, rel=0.03)


def test_a_camera_shows_the_middle_frame_in_its_place():
    gt = flat(0, 129, 129)
    gt[63:66, 63:66] = 255
    light = to_light(camera_shake(gt, rng(), length=30.0), "gamma-2p2")[..., 0]
    assert light[64, 64] >= 1 / 11 * 0.98


def test_defocus_turns_a_light_into_a_disk_of_equal_light():
    gt = flat(0, 41, 41)
    gt[20, 20] = 255
    lq = defocus(gt, rng(), radius=4.0)
    light = to_light(lq)[..., 0]
    assert light.sum() == pytest.approx(1, rel=0.02)
    assert light.sum() / light.max() == pytest.approx(math.pi * 16, rel=0.02)
    # 1 / (16 pi) of white's light is 0.0199, which sRGB shows as 39 of 255.
    assert lq[20, 20, 0] == 39


def test_a_sharp_front_keeps_its_edge_and_takes_nothing_from_the_blurred_back():
    gt = flat((0, 0, 255), 60, 60)
    gt[:, :30] = (255, 0, 0)
    depth = np.ones((60, 60), np.float32)
    depth[:, :30] = 0.0
    lq = blur_by_depth(gt, depth, radius=6.0, focus=0.0)
    assert np.array_equal(lq[:, :30], gt[:, :30])
    # Behind the edge there is only the back, which is extended behind the front.
    assert lq[:, 30:, 0].max() == 0


@pytest.mark.parametrize(("at", "focus"), [(0.9, 0.0), (0.1, 1.0)])
def test_what_lies_farthest_from_the_focus_is_blurred_by_the_stated_radius(at, focus):
    gt = scene(60, 60)
    by_depth = blur_by_depth(gt, np.full((60, 60), at), radius=5.3, focus=focus)
    assert np.abs(by_depth.astype(int) - defocus(gt, rng(), radius=5.3)).max() <= 1


def test_a_blurred_front_reaches_over_a_sharp_back():
    gt = flat((0, 0, 255), 60, 60)
    gt[:, :30] = (255, 0, 0)
    depth = np.ones((60, 60), np.float32)
    depth[:, :30] = 0.0
    lq = blur_by_depth(gt, depth, radius=6.0, focus=1.0)
    assert lq[30, 33, 0] > 60
    assert np.array_equal(lq[:, 40:], gt[:, 40:])
    assert np.array_equal(lq[:, :20], gt[:, :20])


def test_behind_a_blurred_edge_lies_what_is_next_in_depth():
    gt = flat((0, 200, 0), 60, 90)
    gt[:, :30], gt[:, 60:] = (200, 0, 0), (0, 0, 200)
    depth = np.full((60, 90), 0.5, np.float32)
    depth[:, :30], depth[:, 60:] = 0.0, 1.0
    lq = blur_by_depth(gt, depth, radius=6.0, focus=0.5)
    # Through the soft edge of the red front the green middle shows, not the blue back.
    assert lq[:, 20:30, 1].max() > 60
    assert lq[:, :45, 2].max() == 0


@pytest.mark.parametrize("method", ["area", "bilinear", "bicubic"])
def test_resizing_keeps_flat_areas(method):
    for size in ((3, 5), (20, 31), (64, 64)):
        assert np.array_equal(resize(flat(77, 20, 31), *size, method), flat(77, *size))


@pytest.mark.parametrize(("method", "code"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
@pytest.mark.parametrize("size", [(20, 26), (45, 61), (90, 70)])
def test_resizing_agrees_with_opencv(method, code, size):
    gt = random_image(45, 61)
    theirs = cv2.resize(gt.astype(np.float32), (size[1], size[0]), interpolation=code)
    assert np.abs(resize(gt, *size, method) - np.clip(theirs, 0, 255)).max() <= 1.0


def test_area_halves_by_means_of_four():
    gt = random_image(8, 8)
    means = gt.reshape(4, 2, 4, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(resize(gt, 4, 4, "area") - means).max() <= 0.51


def test_rescaling_is_relative_to_the_gt():
    small = rescale(scene(40, 60), rng(), factor=0.25, gt_height=40, gt_width=60)
    assert small.shape == (10, 15, 3)
    assert rescale(small, rng(), factor=1.0, gt_height=40, gt_width=60).shape == (40, 60, 3)
