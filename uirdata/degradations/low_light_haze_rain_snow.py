"""
Low light, rain or snow, and haze over them: the composites of CDD-11.

Guo et al., "OneRestore" (2024), equation 1, apply low light first, then rain or snow, then haze. The seven combinations
of two and three are included; the four single degradations are not.
"""

from __future__ import annotations

from uirdata.degradations.base import Degradation, Level, StepTemplate, Uniform

_LOW = StepTemplate(
    "low-light", {"stops": Uniform(1.2, 2.5), "electrons": Uniform(2_000.0, 10_000.0), "read_noise": 3.0}
)
_HAZE = StepTemplate(
    "haze", {"airlight": Uniform(0.6, 0.9), "beta": Uniform(0.8, 1.3), "near": 0.2, "far": 1.5, "roughness": 0.5}
)
_RAIN = StepTemplate(
    "rain-streak",
    {
        "density": Uniform(80.0, 160.0),
        "length": Uniform(25.0, 45.0),
        "width": Uniform(1.0, 1.5),
        "angle": Uniform(-25.0, 25.0),
        "opacity": Uniform(0.5, 0.7),
        "light": 0.9,
    },
)
_SNOW = StepTemplate(
    "snow",
    {
        "density": Uniform(40.0, 100.0),
        "size": Uniform(8.0, 15.0),
        "travel": Uniform(2.0, 8.0),
        "angle": Uniform(-40.0, 40.0),
    },
)

DEGRADATION = Degradation(
    name="low-light-haze-rain-snow",
    abbreviation="LHRS",
    kind="mixed",
    paper_pairs=8_281,
    levels=(
        Level("low-haze", (_LOW, _HAZE)),
        Level("low-rain", (_LOW, _RAIN)),
        Level("low-snow", (_LOW, _SNOW)),
        Level("haze-rain", (_RAIN, _HAZE)),
        Level("haze-snow", (_SNOW, _HAZE)),
        Level("low-haze-rain", (_LOW, _RAIN, _HAZE)),
        Level("low-haze-snow", (_LOW, _SNOW, _HAZE)),
    ),
)
