"""`maskdcpt check-backbone`, on the network that the README shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from uir_cli.maskdcpt import program

import maskdcpt
from maskdcpt.backbones.checking import check_backbone, load_class
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


def test_a_leak_is_reported_and_fails(here: Path) -> None:
    code, _ = shown()
    (here / "leaking_network.py").write_text(code.replace("masked(self.net.body)(x, mask)", "self.net.body(x)"))
    result = check("leaking_network:MyNetwork", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    wrong = {one["name"]: one["problems"] for one in document["properties"] if one["problems"]}
    assert list(wrong) == [
        "hidden pixels change nothing",
        "hidden sites are exactly 0",
        "no gradient reaches a hidden pixel",
    ]
    assert any("hidden pixels change the features" in text for texts in wrong.values() for text in texts)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nothing", "my_network:MyNetwork"),
        ("no_such_module_here:Net", "ModuleNotFoundError"),
        ("maskdcpt.backbones:Nope", "AttributeError"),
        ("maskdcpt.masking:PatchMask", "TypeError"),
        ("builtins:dict", "not a torch.nn.Module"),
    ],
)
def test_a_place_without_a_network_is_misuse(place: str, message: str) -> None:
    result = check(place)
    assert result.exit_code == 2
    assert message in result.output


def test_the_missing_methods_of_a_plain_module_are_named() -> None:
    result = check("torch.nn:Identity")
    assert result.exit_code == 1
    assert "it has no encode" in result.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('name, multiple = "mine", 1', 'name, multiple = "mine", 0'), "multiple is 0"),
        (("return Encoded([last], last)", "return Encoded([last * float('nan')], last)"), "not all finite"),
        (("return self.net.last(last)", "raise KeyError('last')"), "KeyError: 'last'"),
        (("(16,), (1,), 16", "(8,), (1,), 16"), "feature_channels is (8,)"),
        (("return Encoded([last], last)", "return Encoded([last + 1], last)"), "wrong  hidden sites are exactly 0"),
    ],
)
def test_every_violation_is_reported(here: Path, change: tuple[str, str], says: str) -> None:
    code, _ = shown()
    assert change[0] in code
    module = f"broken_{abs(hash(says))}"
    (here / f"{module}.py").write_text(code.replace(*change))
    result = check(f"{module}:MyNetwork")
    assert result.exit_code == 1, result.output
    assert says in result.stdout


def test_arguments_make_a_network_small() -> None:
    sizes = ("--size", "width=4", "--size", "enc_blk_nums=[1]", "--size", "dec_blk_nums=[1]")
    assert check("maskdcpt.backbones:NAFNet", *sizes).exit_code == 0
    wrong = check("maskdcpt.backbones:NAFNet", "--size", "widht=4")
    assert wrong.exit_code == 2
    assert "unexpected keyword argument 'widht'" in wrong.output
    assert "KEY=VALUE" in check("maskdcpt.backbones:NAFNet", "--size", "width").output


def test_mode_and_weights_are_restored() -> None:
    network = load_class("maskdcpt.backbones:NAFNet", {"width": 4, "enc_blk_nums": [1], "dec_blk_nums": [1]}).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert check_backbone(network) == []
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
