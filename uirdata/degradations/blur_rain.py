"""Blur and rain: drops on the glass combined with defocus or camera shake, as in Raindrop Clarity."""

from __future__ import annotations

from uirdata.degradations.base import Choice, Degradation, Level, StepTemplate, Uniform

_BLADES = Choice((0, 5, 6, 8))
_SHAKE = StepTemplate("random-trajectory", {"length": Uniform(12.0, 35.0), "shake": Uniform(0.3, 1.0)})
_STREAKS = StepTemplate(
    "rain-streak",
    {
        "density": Uniform(40.0, 100.0),
        "length": Uniform(35.0, 60.0),
        "width": 2.0,
        "angle": Uniform(-25.0, 25.0),
        "opacity": 0.75,
        "light": Uniform(0.8, 1.0),
    },
)


def _out_of_focus(radius: float) -> StepTemplate:
    return StepTemplate("defocus", {"radius": radius, "blades": _BLADES})


def _drops(blur: Uniform) -> StepTemplate:
    return StepTemplate(
        "raindrop", {"density": Uniform(30.0, 60.0), "size": Uniform(7.0, 12.0), "spread": 0.7, "blur": blur}
    )


DEGRADATION = Degradation(
    name="blur-rain",
    abbreviation="BR",
    kind="mixed",
    paper_pairs_real=14_490,
    levels=(
        *(
            Level(
                f"focus-on-drops-{radius}",
                (_out_of_focus(float(radius)), _drops(Uniform(0.3, 0.8))),
                "the drops are sharp, the scene is not",
            )
            for radius in (3, 5, 8)
        ),
        Level("shake-behind-drops", (_SHAKE, _drops(Uniform(1.5, 3.0)))),
        Level("shake-behind-streaks", (_SHAKE, _STREAKS)),
        Level("streaks-in-shake", (_STREAKS, _SHAKE), "the whole image is blurred by shake, including the rain"),
    ),
)
