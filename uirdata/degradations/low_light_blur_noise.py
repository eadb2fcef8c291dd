"""Low light, blur and noise, in this order: a long handheld exposure at night, as LOL-Blur."""

from __future__ import annotations

from uirdata.degradations.base import Degradation, Draw, Level, OneOf, StepTemplate, Uniform, Value


def _dark(stops: Value | Draw) -> StepTemplate:
    return StepTemplate("low-light", {"stops": stops})


def _shake(length: Value | Draw) -> StepTemplate:
    return StepTemplate(
        "camera-shake", {"length": length, "turn": Uniform(-1.0, 1.0), "zoom": Uniform(-0.01, 0.01), "frames": 11}
    )


def _noise(electrons: Value | Draw) -> StepTemplate:
    return StepTemplate("camera-noise", {"electrons": electrons, "read_noise": 3.0})


DEGRADATION = Degradation(
    name="low-light-blur-noise",
    abbreviation="LBN",
    kind="mixed",
    paper_pairs=20_400,
    levels=(
        *(
            Level(f"stops-{stops}-blur-{length}", (_dark(float(stops)), _shake(float(length)), _noise(4_000.0)))
            for stops in (2, 3, 4)
            for length in (10, 20)
        ),
        *(
            Level(
                f"stops-{stops}-blur-without-noise",
                (_dark(float(stops)), _shake(Uniform(10.0, 25.0))),
                "LOL-Blur's low_blur",
            )
            for stops in (2, 3)
        ),
        Level("grainy", (_dark(Uniform(2.0, 3.0)), _shake(Uniform(8.0, 20.0)), _noise(800.0))),
        Level(
            "any",
            (
                _dark(Uniform(1.5, 4.0)),
                _shake(Uniform(6.0, 28.0)),
                OneOf(((_noise(Uniform(800.0, 8_000.0)),), ()), (0.5, 0.5)),
            ),
            "with and without noise, as LOL-Blur has both for every scene",
        ),
    ),
)
