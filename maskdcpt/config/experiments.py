"""
Rows of the paper's tables as trainings: the preset for pre-training, and the preset for fine-tuning.

Only rows of networks and pre-trainings that are implemented here; the other rows are other authors' programs. Tables
III and IV test networks of Tables I and II on other images, so they need no training of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

TITLES: Mapping[str, str] = MappingProxyType(
    {"swinir": "SwinIR", "nafnet": "NAFNet", "restormer": "Restormer", "promptir": "PromptIR"}
)


ROMAN: Mapping[int, str] = MappingProxyType(
    dict(enumerate(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI"), start=1))
)


@dataclass(frozen=True)
class Experiment:
    """
    A row of a table.

    Attributes:
        table: its number.
        row: the method, as the paper prints it.
        pretrain: preset of the pre-training; "" starts from scratch.
        finetune: preset of the fine-tuning.
        note: further information.
    """

    table: int
    row: str
    pretrain: str
    finetune: str
    note: str = ""

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that run it, in order."""
        if not self.pretrain:
            return (f"maskdcpt train --shards DIR --preset {self.finetune} --out runs/{self.finetune}-scratch",)
        return (
            f"maskdcpt train --shards DIR --preset {self.pretrain} --out runs/{self.pretrain}",
            f"maskdcpt train --shards DIR --preset {self.finetune} --init runs/{self.pretrain} "
            f"--out runs/{self.finetune}-from-{self.pretrain}",
        )


def experiments() -> tuple[Experiment, ...]:
    """Return every row, table by table."""
    return (*_five(), *_twelve(), *_denoising(), *_real(), *_single(), *_mixed(), *_ablations(), *_steps(), *_aware())


def _five() -> Iterator[Experiment]:
    for name, title in TITLES.items():
        finetune = f"finetune-5d-{name}"
        yield Experiment(1, title, "", finetune)
        if name in ("swinir", "promptir"):
            yield Experiment(1, f"{title}+RAM", f"pretrain-5d-{name}-ram", finetune)
        yield Experiment(1, f"{title}+DCPT", f"pretrain-5d-{name}-dcpt", finetune)
        yield Experiment(1, f"{title}+MaskDCPT", f"pretrain-5d-{name}", finetune)


def _twelve() -> Iterator[Experiment]:
    yield Experiment(2, "DCPT", "pretrain-12d-nafnet-dcpt", "finetune-12d-nafnet")
    yield Experiment(2, "MaskDCPT", "pretrain-12d-nafnet", "finetune-12d-nafnet")


def _denoising() -> Iterator[Experiment]:
    for one in _five():
        title, _, kind = one.row.partition("+")
        yield Experiment(3, f"{title}-5D{'+' if kind else ''}{kind}", one.pretrain, one.finetune, "the run of Table I")
    yield Experiment(3, "NAFNet+MaskDCPT-12D", "pretrain-12d-nafnet", "finetune-12d-nafnet", "the run of Table II")


def _real() -> Iterator[Experiment]:
    for one in _twelve():
        yield Experiment(4, f"{one.row}-NAFNet", one.pretrain, one.finetune, "the run of Table II")


def _single() -> Iterator[Experiment]:
    for task, tests in (("gopro", "GoPro and HIDE"), ("rain13k", "Test100")):
        for row, pretrain in _restormers():
            yield Experiment(5, row, pretrain, f"finetune-{task}-restormer", f"tested on {tests}")


def _restormers() -> tuple[tuple[str, str], ...]:
    return (
        ("Restormer", ""),
        ("DCPT-Restormer", "pretrain-5d-restormer-dcpt"),
        ("MaskDCPT-Restormer", "pretrain-5d-restormer"),
    )


def _mixed() -> Iterator[Experiment]:
    yield Experiment(6, "DCPT-NAFNet", "pretrain-5d-nafnet-dcpt", "finetune-mixed-nafnet")
    yield Experiment(6, "MaskDCPT-NAFNet", "pretrain-5d-nafnet", "finetune-mixed-nafnet")


def _ablations() -> Iterator[Experiment]:
    plain, finetune = "pretrain-5d-promptir", "finetune-5d-promptir"
    yield Experiment(7, "0 % hidden", f"{plain}-dcpt", finetune, "the DCPT row of Table I, digit for digit")
    for ratio in (25, 50, 75):
        yield Experiment(7, f"{ratio} % hidden", plain if ratio == 50 else f"{plain}-ratio-{ratio}", finetune)
    for patch in (1, 4, 16, 32):
        row = f"{patch} x {patch} pixels"
        yield Experiment(8, row, plain if patch == 16 else f"{plain}-patch-{patch}", finetune)
    for method in ("square", "block-wise", "random"):
        yield Experiment(9, method, plain if method == "random" else f"{plain}-{method}", finetune)


def _steps() -> Iterator[Experiment]:
    note = "from each of its checkpoints: --init RUN/checkpoints/step-025000, -050000, -075000, -100000"
    for name, title in TITLES.items():
        yield Experiment(10, title, f"pretrain-5d-{name}", f"finetune-5d-{name}", note)


def _aware() -> Iterator[Experiment]:
    for subset in ("5d", "12d"):
        note = f"{subset.upper()}; how the paper built it is not known, backbones.awareness says what is ours"
        for suffix, name in VARIANTS.items():
            own = note if suffix else subset.upper()
            yield Experiment(11, f"Restormer{suffix}", "", f"finetune-{subset}-{name}", own)
            yield Experiment(
                11, f"Restormer{suffix} + MaskDCPT", f"pretrain-{subset}-{name}", f"finetune-{subset}-{name}", own
            )


VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "": "restormer",
        "+instructs": "restormer-instructions",
        "+frequency": "restormer-frequency",
        "+MoE": "restormer-experts",
    }
)
"""What Table XI adds to Restormer, to the name of that network in presets."""
