"""`maskdcpt check-backbone`, on the network that the README shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import maskdcpt
from cli.maskdcpt import program
from maskdcpt.backbones.checking import load_class
from maskdcpt.masking import masked, random_patch_mask

README = Path(maskdcpt.__file__).with_name("README.md")


def shown() -> tuple[str, list[str]]:
    """The module and the output that the README shows."""
    section = README.read_text().split("## A network of your own")[1]
    code, output = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)[:2]
    return code, output.splitlines()[1:]


def check(*args: str) -> Result:
    return CliRunner().invoke(program, ["check-backbone", *args])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_network_of_the_readme_holds_as_shown(here: Path) -> None:
    code, output = shown()
    (here / "my_network.py").write_text(code)
    result = check("my_network:MyNetwork")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == output

    network = load_class("my_network:DnCNN")
    mask = random_patch_mask(1, 32, 32, 8, 0.5, torch.Generator().manual_seed(0))
    image = torch.rand(1, 3, 32, 32)
    other = torch.where(mask.at(32, 32), image, 1 - image)
    assert torch.equal(masked(network)(image, mask), masked(network)(other, mask))
    assert not torch.equal(network(image), network(other))


def test_a_leak_is_named_and_fails(here: Path) -> None:
    code, _ = shown()
    (here / "leaking_network.py").write_text(code.replace("masked(self.net.body)(x, mask)", "self.net.body(x)"))
    result = check("leaking_network:MyNetwork", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    wrong = {one["name"]: one["problems"] for one in document["properties"] if one["problems"]}
    assert len(wrong) == 2
    assert any("hidden pixels change the features" in text for texts in wrong.values() for text in texts)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nothing", "my_network:MyNetwork"),
        ("no_such_module_here:Net", "ModuleNotFoundError"),
        ("maskdcpt.backbones:Nope", "AttributeError"),
        ("maskdcpt.masking:PatchMask", "TypeError"),
        ("builtins:dict", "not a torch.nn.Module"),
    ],
)
def test_what_is_no_network_is_misuse(place: str, said: str) -> None:
    result = check(place)
    assert result.exit_code == 2
    assert said in result.output


def test_a_plain_module_is_told_what_it_lacks() -> None:
    result = check("torch.nn:Identity")
    assert result.exit_code == 1
    assert "it has no encode" in result.output
