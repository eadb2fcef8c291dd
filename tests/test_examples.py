"""The examples in docstrings: all of them run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import synthetic_image, write_png

TREE = Path(__file__).resolve().parent.parent
# The commands are imported by the name under which they are installed.
PACKAGES = {"uirdata": "uirdata", "maskdcpt": "maskdcpt", "cli": "uir_cli"}


def modules_with_examples() -> list[str]:
    """Names of all modules whose text has an example; nothing is imported."""
    found = []
    for folder, package in PACKAGES.items():
        for path in sorted((TREE / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(TREE / folder).with_suffix("").parts
                found.append(".".join((package, *parts)).removesuffix(".__init__"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def photos(folder: Path) -> Path:
    """A folder of two small photographs."""
    for number in range(2):
        write_png(folder / f"photos/p{number}.png", synthetic_image(64, 64, number))
    return folder / "photos"


def root(folder: Path) -> Path:
    """A root into which `my-photos` has been fetched."""
    import uirdata

    if not (folder / "root").exists():
        uirdata.fetch("my-photos", from_dir=photos(folder), root=folder / "root")
    return folder / "root"


def shards(folder: Path) -> Path:
    """Shards of three degradations, train and test."""
    from tests.maskdcpt.tiny import write_shards

    return folder / "shards" if (folder / "shards").exists() else write_shards(folder / "shards")


def checkpoint(folder: Path) -> Path:
    """Weights of a NAFNet of four channels."""
    import torch

    from maskdcpt import create_backbone

    network = create_backbone("nafnet", width=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    torch.save({"params": network.state_dict()}, folder / "nafnet.pth")
    return folder / "nafnet.pth"


GIVEN: dict[str, Callable[[Path], Path]] = {f.__name__: f for f in (photos, root, shards, checkpoint)}
"""Names that examples may use without making them."""


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_give_what_they_say(name: str, folder: Path) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{name} needs {error.name}, which is not installed")
    examples = [found for found in doctest.DocTestFinder(exclude_empty=True).find(module) if found.examples]
    assert examples, f"{name} has an example that is in no docstring"
    said: list[str] = []
    for example in examples:
        text = "".join(line.source for line in example.examples)
        given: dict[str, Any] = {word: make(folder) for word, make in GIVEN.items() if word in text}
        example.globs = {**example.globs, **given}
        doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)
