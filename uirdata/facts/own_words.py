"""The words by which people tell LQ from GT in the names of folders and files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from uirdata.manifest_syntax.pair_rules import TYPES, Split


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


LQ_WORDS: dict[str, str] = {
    "lq": "",
    "lr": "",
    "input": "",
    "inputs": "",
    "source": "",
    "degraded": "",
    "distorted": "",
    "corrupted": "",
    "hazy": "haze",
    "haze": "haze",
    "foggy": "haze",
    "fog": "haze",
    "blur": "motion-blur",
    "blurry": "motion-blur",
    "blurred": "motion-blur",
    "defocus": "defocus-blur",
    "noisy": "noise",
    "noise": "noise",
    "low": "low-light",
    "lowlight": "low-light",
    "dark": "low-light",
    "rainy": "rain-streak",
    "rain": "rain-streak",
    "raindrop": "raindrop",
    "snow": "snow",
    "snowy": "snow",
    "moire": "moire",
}
"""Words for LQ images, and the degradation that they imply; "" for none."""

GT_WORDS = _set(
    "clean clear gt gts groundtruth high hq hr nohaze norain normal nosnow original originals ref "
    "reference sharp target targets truth"
)

_IN_FILES: dict[str, str] = {"n": "", "real": ""}
"""Further words for LQ images that are usual in the names of files only."""

_GT_IN_FILES = frozenset({"mean"})

_SURE = _set("lq noisy hazy foggy blurry blurred rainy degraded distorted corrupted lowlight")
"""Words that nobody gives to photographs without a degradation."""

_SURE_IN_FOLDERS = _SURE | {"lr"}

_STRENGTHS = _set("noise sigma jpeg blur")
"""Words that name a degradation where a number follows."""

_OUTPUTS = _set("result results restored output outputs prediction predictions visualization visualizations")
"""Words for the images that a method made."""

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
}

_FILLERS = _set(
    "bicubic crop crops data dataset dir file files folder frame frames image images img imgs jpg light "
    "motion patch patches photo photos picture pictures png rgb set srgb streak streaks x"
)


@dataclass(frozen=True)
class Role:
    """
    What the name of a folder, or a word in the name of a file, says about images.

    Attributes:
        kind: lq or gt.
        degradation: that it implies; "" for none.
        rest: what else the name says, such as train in train_blur; LQ and GT of a data set have this in common.
        is_sure: nothing else is in the name that could give the word another meaning, as in "snow mountain".
    """

    kind: Literal["lq", "gt"]
    degradation: str = ""
    rest: frozenset[str] = frozenset()
    is_sure: bool = True


def role_of_folder(name: str) -> Role | None:
    """
    Return the role of a folder by its name; None if it has none.

    >>> role_of_folder("LQ_images").kind, role_of_folder("ground-truth").kind, role_of_folder("photos")
    ('lq', 'gt', None)
    >>> role_of_folder("rainy_image").degradation, sorted(role_of_folder("DIV2K_train_LR_bicubic").rest)
    ('rain-streak', ['div', 'k', 'train'])
    """
    words = [word for word in _words(name) if not word.isdigit()]
    typed = "-".join(word for word in words if word not in _SPLITS)
    if typed in TYPES:
        return Role("lq", typed, frozenset(word for word in words if word in _SPLITS))
    lqs = [word for word in words if word in LQ_WORDS]
    gts = [word for word in words if word in GT_WORDS]
    if bool(lqs) == bool(gts):
        return None
    rest = frozenset(word for word in words if word not in (*lqs, *gts, *_FILLERS, "ground"))
    other = rest - _SPLITS.keys()
    sure = not other or not _SURE_IN_FOLDERS.isdisjoint(lqs)
    if gts:
        return Role("gt", "", rest, sure)
    return Role("lq", LQ_WORDS[lqs[0]] if len(lqs) == 1 else "", rest, sure)


def role_of_word(word: str) -> Role | None:
    """Return the role of one word in the name of a file; None if it has none."""
    lower = word.lower()
    known = {**LQ_WORDS, **_IN_FILES}
    if lower in known:
        return Role("lq", known[lower])
    return Role("gt") if lower in GT_WORDS or lower in _GT_IN_FILES else None


def is_surely_degraded(name: str) -> bool:
    """Return whether a name of a folder or a file has a word that only degraded images have."""
    return not _SURE.isdisjoint(_words(name))


def cannot_be_clean(folder: str) -> bool:
    """
    Return whether a folder of a path names degraded images, or what a method made of them.

    >>> cannot_be_clean("kodak_noisy25"), cannot_be_clean("CBSD68/sigma50"), cannot_be_clean("results/PromptIR/CBSD68")
    (True, True, True)
    >>> cannot_be_clean("Train/Denoise"), cannot_be_clean("noise/BSD400"), cannot_be_clean("Urban100/HR")
    (False, False, False)
    """
    words = _words(folder)
    strengths = any(a in _STRENGTHS and b.isdecimal() for a, b in pairwise(words))
    return strengths or not (_SURE_IN_FOLDERS | _OUTPUTS).isdisjoint(words)


def kinds_in(name: str) -> set[str]:
    """Return lq and gt, for the words of LQ and of GT in the name of a file."""
    words = set(_words(name))
    return {kind for kind, known in (("lq", LQ_WORDS.keys()), ("gt", GT_WORDS)) if not words.isdisjoint(known)}


def split_of(folders: str) -> Split:
    """
    Return the split that the last folder of a path with a word for one names; train if there is none.

    >>> split_of("GoPro/test"), split_of("GoPro")
    ('test', 'train')
    """
    found = [_SPLITS[word] for folder in folders.split("/") for word in _words(folder) if word in _SPLITS]
    return found[-1] if found else "train"


def names_split(folder: str) -> bool:
    """Return whether the name of a folder has a word for a split."""
    return any(word in _SPLITS for word in _words(folder))


def _words(name: str) -> list[str]:
    # Also where a capital begins a word: GroundTruth.
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
