"""Pairing rules: how a manifest describes which files of a source form pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from uirdata.errors import ManifestError, nearest
from uirdata.manifest_syntax.patterns import Pattern, compile_pattern, template_holes
from uirdata.manifest_syntax.typed_toml import STRICT

Split = Literal["train", "val", "test"]

TYPES: tuple[str, ...] = (
    "noise",
    "real-noise",
    "motion-blur",
    "defocus-blur",
    "gaussian-blur",
    "jpeg",
    "haze",
    "rain-streak",
    "raindrop",
    "rain-streak-raindrop",
    "snow",
    "mosaic",
    "low-light",
    "moire",
    "blur-jpeg",
    "blur-rain",
    "low-light-blur-noise",
    "low-light-haze-rain-snow",
    "downsample-noise-blur-jpeg",
)
"""The names of the nineteen types, as a manifest may write them. `uirdata.degradations` defines them."""

UNSEEN: tuple[str, ...] = ("under-display-camera",)
"""Degradations of test sets that no model is trained on; never part of a subset that has labels."""


@dataclass(frozen=True)
class Exclude:
    """
    Files that a rule leaves out on purpose.

    Attributes:
        pattern: matched against LQ and GT.
        reason: what is wrong with them.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    pattern: str
    reason: str


@dataclass(frozen=True)
class ExamplePair:
    """A pair that a rule must find."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    gt: str = ""
    lq: str = ""
    level: str = ""


@dataclass(frozen=True)
class Example:
    """
    Some file names and the result of a rule on them; the tests check it.

    Attributes:
        pairs: must be found, with these levels.
        left_out: further names that must not be paired.
        lists: text of list files by name, for rules with a list.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    pairs: tuple[ExamplePair, ...]
    left_out: tuple[str, ...] = ()
    lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the example, sorted."""
        paths = {path for pair in self.pairs for path in (pair.gt, pair.lq) if path}
        return tuple(sorted(paths | set(self.left_out) | set(self.lists)))


@dataclass(frozen=True)
class PairRule:
    """
    How the files of one split form pairs. Patterns and templates: `uirdata.manifest_syntax.patterns`.

    Attributes:
        split: train, val or test.
        degradation: one of the nineteen types; "" for clean images.
        real: captured, not synthesised.
        gt: pattern of the GT; "" if there is none. It uses some of the holes of `lq`.
        lq: pattern of the LQ; "" for clean images.
        kind: `names`: a GT belongs to the LQ whose holes are equal. `sorted`: the n-th LQ belongs to the n-th GT, in
            the order of their names, separately for each filling of the holes that both patterns have. `list`: a text
            file names the pairs, one per line.
        list: pattern of the list file.
        columns: order of the columns of a list file.
        level: template of the level, such as "A={A},beta={beta}".
        scene: template of the scene; without one, pairs with the same GT form a scene.
        gt_border: see `Pair`.
        drop_identical: see `Pair`.
        test_share: share of the scenes, 0 to 1, that go to the test split instead; their names decide which.
        exclude: files that are left out, and why.
        published: how many pairs this rule finds according to its authors; None if unknown, or if another rule counts
            the same pairs in another archive.
        layout: whose layout this is, such as "PromptIR and AdaIR"; "" for that of the authors' files.
        general: the names are too common to be recognised among other data: in a folder of the user's they are looked
            for only below DIR/<id>, or where this source alone is asked for.
        cut: the images are crops that somebody has cut already. They are taken whole, and only where the images that
            they were cut from are not there.
        note: a note for readers.
        example: checked by the tests.
    """

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    split: Split
    degradation: str
    real: bool
    gt: str
    lq: str
    kind: Literal["names", "sorted", "list"] = "names"
    list: str = ""
    columns: Literal["gt lq", "lq gt"] = "gt lq"
    level: str = ""
    scene: str = ""
    gt_border: int = 0
    drop_identical: bool = False
    test_share: float = 0.0
    exclude: tuple[Exclude, ...] = ()
    published: int | None = None
    layout: str = ""
    general: bool = False
    cut: bool = False
    note: str = ""
    example: Example | None = None


def rule_faults(rule: PairRule) -> list[str]:
    """Return the faults of a rule, each with the field that has it; empty if the rule is valid."""
    faults: list[str] = []
    if rule.degradation and rule.degradation not in TYPES + UNSEEN:
        faults.append(f"degradation is {rule.degradation!r}: {nearest(rule.degradation, TYPES)}")
    if not rule.gt and not rule.lq:
        faults.append("neither gt nor lq has a pattern")
    if bool(rule.degradation) != bool(rule.lq):
        faults.append("a rule with an lq must name its degradation, a rule without one (clean images) must not")
    if (rule.kind == "list") != bool(rule.list):
        faults.append('kind "list" and the field list must be given together')
    if not 0.0 <= rule.test_share < 1.0:
        faults.append(f"test_share is {rule.test_share}, expected at least 0 and less than 1")
    patterns: dict[str, Pattern] = {}
    for name, text in (("gt", rule.gt), ("lq", rule.lq), ("list", rule.list), *_named_excludes(rule)):
        try:
            patterns[name] = compile_pattern(text, rule.lq if name == "gt" else "")
        except ManifestError as error:
            faults.append(f"{name}: {error}")
    if faults:
        return faults
    source = patterns["lq"] if rule.lq else patterns["gt"]
    if rule.kind == "names" and rule.lq and rule.gt:
        faults += [
            f"gt has the hole {hole!r}, which lq lacks, so it has no value"
            for hole in patterns["gt"].holes
            if hole not in source.holes
        ]
    for name, template in (("level", rule.level), ("scene", rule.scene)):
        faults += [
            f"{name} has the hole {hole!r}: {nearest(hole, source.holes)}"
            for hole in template_holes(template)
            if hole not in source.holes
        ]
    return faults


def can_have_level(rule: PairRule, level: str) -> bool:
    """
    Return whether a pair of a rule can have a level.

    >>> rule = PairRule("test", "haze", False, "gt/{n}.png", r"lq/{n}_{A:0\\.\\d}.png", level="A={A}")
    >>> can_have_level(rule, "A=0.8"), can_have_level(rule, "A=8")
    (True, False)
    """
    expressions = compile_pattern(rule.lq or rule.gt).expressions
    parts = re.split(r"\{([^{}]*)\}", rule.level)
    texts = (re.escape(part) if i % 2 == 0 else f"(?:{expressions[part]})" for i, part in enumerate(parts))
    return re.fullmatch("".join(texts), level) is not None


def _named_excludes(rule: PairRule) -> Iterator[tuple[str, str]]:
    for index, exclude in enumerate(rule.exclude):
        yield f"exclude[{index}].pattern", exclude.pattern
