"""
The test sets of the paper's Tables I to VI as values: which pairs, how an LQ is made, which cell of which table.

Everything that is stated comes from the paper and from its published test files. Where they do not state something, the
test set or the cell has a note that says what was decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from uirdata.errors import UsageError, nearest


@dataclass(frozen=True)
class GaussianNoise:
    """
    Noise as the published test files add it: float, clipped, not rounded.

    `numpy.random.RandomState(seed)` anew for each image, H x W x 3 normal draws in RGB, so that images of one size get
    the same noise.

    Attributes:
        sigma: grey levels.
        seed: of each image.
    """

    sigma: float
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """
    An LQ made from a GT of eight bits by a level of `uirdata.degradations`, with a random generator keyed by its name.

    Attributes:
        level: such as "q50".
    """

    level: str


@dataclass(frozen=True)
class TestSet:
    """
    A test set.

    Attributes:
        name: unique here.
        source: id of the source that holds them.
        degradation: type of its LQ.
        split: of the source.
        level: level of the published pairs to take; "" for all.
        made: how the LQ is made from a GT; None for published pairs.
        reference: whether there are GT.
        images: number of images as published; 0 where it is not known.
        note: what was decided here.
    """

    # By its name pytest would collect the class as a test.
    __test__ = False

    name: str
    source: str
    degradation: str
    split: str = "test"
    level: str = ""
    made: GaussianNoise | Made | None = None
    reference: bool = True
    images: int = 0
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """
    A cell of a table: the mean over its test sets, each the mean over its images.

    Attributes:
        name: prefix of the table's columns.
        sets: the test sets.
        note: what the paper does not state, and what was decided here.
    """

    name: str
    sets: tuple[TestSet, ...]
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """
    A table of the paper as an evaluation to run.

    Attributes:
        name: such as "5d".
        table: its number.
        title: for display.
        cells: in the table's order.
        metrics: of the table's columns.
        subset: name of the subset with its sources.
    """

    name: str
    table: int
    title: str
    cells: tuple[Cell, ...]
    metrics: tuple[str, ...]
    subset: str = "bench"

    @property
    def sets(self) -> tuple[TestSet, ...]:
        """All its test sets, each once."""
        return tuple(dict.fromkeys(chosen for cell in self.cells for chosen in cell.sets))


def find_bench(name: str) -> Bench:
    """
    Return a bench by name.

    Raises:
        UsageError: there is no bench of that name.
    """
    if name not in BENCHES:
        raise UsageError(f"there is no bench {name!r}: {nearest(name, BENCHES)}")
    return BENCHES[name]


FULL = ("psnr", "ssim", "lpips", "fid")
BLIND = ("piqe", "brisque")

_AVERAGE = "How several sets make one value is not stated: here the mean of the sets, each the mean of its images."


def _noise(source: str, sigma: int, images: int) -> TestSet:
    return TestSet(f"{source}-gaussian-{sigma}", source, "noise", made=GaussianNoise(sigma), images=images)


def _blind(source: str, degradation: str, images: int = 0) -> TestSet:
    return TestSet(source, source, degradation, reference=False, images=images)


def _jpeg(source: str, images: int) -> TestSet:
    return TestSet(f"{source}-q50", source, "jpeg", made=Made("q50"), images=images)


SOTS = TestSet("sots-outdoor", "sots-outdoor", "haze", images=500)
RAIN100L = TestSet("rain100l", "rain100l", "rain-streak", images=100)
GOPRO = TestSet("gopro", "gopro", "motion-blur", images=1111)
HIDE = TestSet("hide", "hide", "motion-blur", images=2025)
LOL = TestSet("lol-v1", "lol-v1", "low-light", images=15)
_RAIN13K = {
    name: TestSet(f"rain13k-{name.lower()}", "rain13k-test", "rain-streak", level=name, images=images)
    for name, images in (("Rain100L", 100), ("Rain100H", 100), ("Test100", 98), ("Test1200", 1200), ("Test2800", 2800))
}
_CLEAN = {"urban100": 100, "kodak24": 24, "cbsd68": 68, "mcmaster": 18}

_TABLE_1 = Bench(
    "5d",
    1,
    "five degradations in one network",
    (
        Cell("dehazing", (SOTS,)),
        Cell("deraining", (RAIN100L,)),
        Cell("denoising", (_noise("cbsd68", 25, 68),)),
        Cell("deblurring", (GOPRO,)),
        Cell("low_light", (LOL,)),
    ),
    FULL,
    subset="5d",
)

_TABLE_2 = Bench(
    "12d",
    2,
    "twelve degradations in one network",
    (
        Cell(
            "deraining",
            (*_RAIN13K.values(), TestSet("synrain-13k", "synrain-13k", "rain-streak", images=1200)),
            _AVERAGE,
        ),
        Cell("dehazing", (SOTS,)),
        Cell("desnowing", (TestSet("snow100k-l", "snow100k", "snow", level="L", images=16801),)),
        Cell(
            "raindrop",
            (
                TestSet("raindrop-a", "raindrop", "raindrop", level="test_a", images=58),
                TestSet("rainds-raindrop", "rainds", "raindrop", images=298, note="synthetic and real"),
            ),
            _AVERAGE + " RainDrop is taken as its test_a, RainDS as all its test pairs with drops alone.",
        ),
        Cell(
            "low_light",
            (
                LOL,
                TestSet("lol-v2-real", "lol-v2", "low-light", level="real", images=100),
                TestSet("lol-v2-synthetic", "lol-v2", "low-light", level="synthetic", images=100),
                TestSet("lsrw-huawei", "lsrw", "low-light", level="huawei", images=30),
                TestSet("lsrw-nikon", "lsrw", "low-light", level="nikon", images=20),
            ),
            _AVERAGE,
        ),
        Cell(
            "motion_deblur",
            (GOPRO, HIDE, TestSet("reds-val", "reds", "motion-blur", split="val", images=3000)),
            _AVERAGE + " REDS is its validation part: the GT of its test part are not public.",
        ),
        Cell("defocus_deblur", (TestSet("dpdd", "dpdd", "defocus-blur", images=76),)),
        Cell(
            "jpeg_removal",
            tuple(_jpeg(name, _CLEAN[name]) for name in ("cbsd68", "kodak24", "mcmaster", "urban100")),
            _AVERAGE + " The sets are not named in the text; these are those of the test file.",
        ),
        Cell("real_denoising", (TestSet("sidd-validation", "sidd-validation", "real-noise", images=1280),)),
        Cell(
            "gaussian_deblur",
            (TestSet("urban100-blur", "urban100", "gaussian-blur", made=Made("published-mix"), images=100),),
            "The published test draws kernels that depend on the order of files; here they are keyed by the image.",
        ),
        Cell(
            "demosaic",
            (TestSet("urban100-mosaic", "urban100", "mosaic", made=Made("rggb-edge-aware"), images=100),),
            "The published test gives red and blue exchanged, and its weights were trained on that: for them use "
            "--swapped-mosaic.",
        ),
        Cell("demoire", (TestSet("rdnet", "rdnet", "moire", images=408),)),
    ),
    FULL,
    subset="12d",
)

_TABLE_3 = Bench(
    "denoise",
    3,
    "denoising at levels seen and unseen",
    tuple(
        Cell(f"{title}.sigma{sigma}", (_noise(source, sigma, _CLEAN[source]),))
        for title, source in (("Urban100", "urban100"), ("Kodak24", "kodak24"), ("BSD68", "cbsd68"))
        for sigma in (15, 25, 50, 60, 75)
    ),
    ("psnr",),
)

_TABLE_4 = Bench(
    "real",
    4,
    "real degradations, not fine-tuned on",
    (
        Cell("motion_blur", (TestSet("realblur-r", "realblur", "motion-blur", images=980),)),
        Cell("defocus_blur", (_blind("cuhk-blur", "defocus-blur"), _blind("pixeldp", "defocus-blur")), _AVERAGE),
        Cell(
            "rain",
            (
                TestSet("realrain-1k-l", "realrain-1k", "rain-streak", level="L", images=224),
                TestSet("realrain-1k-h", "realrain-1k", "rain-streak", level="H", images=224),
            ),
            _AVERAGE,
        ),
        Cell("snow", (_blind("snow100k-real", "snow", 1329),)),
        Cell("haze", (_blind("reside-rtts", "haze", 4322),)),
        Cell(
            "low_light",
            tuple(
                _blind(source, "low-light", images)
                for source, images in (("dicm", 0), ("lime", 10), ("mef", 17), ("npe", 0), ("vv", 24))
            ),
            _AVERAGE,
        ),
    ),
    (*FULL, *BLIND),
)

_TABLE_5 = Bench(
    "single",
    5,
    "one task each",
    (
        Cell("GoPro", (GOPRO,)),
        Cell("HIDE", (HIDE,)),
        Cell(
            "Test100",
            (_RAIN13K["Test100"],),
            "The label may be wrong (values like those of Rain100L), and whether rain is compared on RGB or, as in "
            "Restormer's own protocol, on the luma is not stated: RGB here, --y for the luma.",
        ),
    ),
    ("psnr", "ssim"),
)

_TABLE_6 = Bench(
    "mixed",
    6,
    "mixed degradations",
    (
        *(
            Cell(
                level,
                (TestSet(f"cdd-11-{level}", "cdd-11", "low-light-haze-rain-snow", level=level, images=200),),
            )
            for level in ("low_haze_rain", "low_haze_snow")
        ),
        Cell(
            "low_blur_noise",
            (TestSet("lol-blur-noise", "lol-blur", "low-light-blur-noise", level="low_blur_noise", images=1800),),
        ),
    ),
    FULL,
)

BENCHES: Mapping[str, Bench] = MappingProxyType(
    {bench.name: bench for bench in (_TABLE_1, _TABLE_2, _TABLE_3, _TABLE_4, _TABLE_5, _TABLE_6)}
)
"""By name, in the order of the tables."""
