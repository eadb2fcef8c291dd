"""Blur and JPEG: camera motion, then JPEG compression, as RealBlur-J and the compressed frames of REDS."""

from __future__ import annotations

from uirdata.degradations.base import Degradation, Draw, Integer, Level, StepTemplate, Uniform, Value


def _camera(length: Value | Draw) -> StepTemplate:
    return StepTemplate(
        "camera-shake", {"length": length, "turn": Uniform(-1.0, 1.0), "zoom": Uniform(-0.02, 0.02), "frames": 11}
    )


def _trajectory(length: Value | Draw) -> StepTemplate:
    return StepTemplate("random-trajectory", {"length": length, "shake": Uniform(0.3, 1.0)})


def _jpeg(quality: Value | Draw) -> StepTemplate:
    return StepTemplate("jpeg", {"quality": quality})


DEGRADATION = Degradation(
    name="blur-jpeg",
    abbreviation="BJ",
    kind="mixed",
    paper_pairs=8_878,
    paper_pairs_real=12_636,
    levels=(
        *(
            Level(f"camera-{length}-q{quality}", (_camera(float(length)), _jpeg(quality)))
            for length in (10, 20)
            for quality in (15, 25, 40)
        ),
        *(
            Level(f"trajectory-{length}-q{quality}", (_trajectory(float(length)), _jpeg(quality)))
            for length in (20, 40)
            for quality in (15, 25, 40)
        ),
        Level("any", (_trajectory(Uniform(8.0, 50.0)), _jpeg(Integer(10, 60)))),
    ),
)
