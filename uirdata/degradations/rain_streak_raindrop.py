"""Rain streaks in the scene and raindrops on the glass in front of it."""

from __future__ import annotations

from uirdata.degradations.base import Degradation, Draw, Level, StepTemplate, Uniform, Value

_SLANT = Uniform(-25.0, 25.0)
_LIGHT = Uniform(0.8, 1.0)


def _level(name: str, streaks: dict[str, Value | Draw], drops: dict[str, Value | Draw], note: str = "") -> Level:
    # The streaks are beyond the glass, so the drops refract a scene that contains them.
    rain = StepTemplate("rain-streak", {"angle": _SLANT, "light": _LIGHT, **streaks})
    return Level(name, (rain, StepTemplate("raindrop", drops)), note)


DEGRADATION = Degradation(
    name="rain-streak-raindrop",
    abbreviation="RSD",
    kind="single",
    paper_pairs=1_000,
    paper_pairs_real=150,
    levels=(
        _level(
            "light",
            {"density": 25.0, "length": 45.0, "width": 2.0, "opacity": 0.7},
            {"density": 25.0, "size": 7.0, "blur": Uniform(1.5, 3.0)},
        ),
        _level(
            "moderate",
            {"density": 60.0, "length": 50.0, "width": 2.0, "opacity": 0.7},
            {"density": 45.0, "size": 8.0, "blur": Uniform(2.0, 4.0)},
        ),
        _level(
            "heavy",
            {"density": 110.0, "length": 60.0, "width": 2.2, "opacity": 0.75, "veil": 0.2},
            {"density": 60.0, "size": 9.0, "spread": 0.7, "blur": Uniform(2.0, 4.0)},
        ),
        _level(
            "large-drops",
            {"density": 70.0, "length": 50.0, "width": 2.0, "opacity": 0.7},
            {"density": 18.0, "size": 16.0, "blur": Uniform(3.0, 6.0)},
        ),
        _level(
            "any",
            {
                "density": Uniform(20.0, 110.0),
                "length": Uniform(30.0, 60.0),
                "width": Uniform(1.4, 2.2),
                "opacity": Uniform(0.55, 0.8),
                "veil": Uniform(0.0, 0.3),
            },
            {
                "density": Uniform(15.0, 60.0),
                "size": Uniform(6.0, 14.0),
                "spread": Uniform(0.3, 0.8),
                "blur": Uniform(1.5, 5.0),
            },
        ),
    ),
)
