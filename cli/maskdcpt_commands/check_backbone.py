"""maskdcpt check-backbone: check a network of your own against the contract of a backbone."""

from __future__ import annotations

from dataclasses import asdict

import click

from uirdata.errors import UirError, UsageError

from ..console import Console
from ..options import common


@click.command(name="check-backbone")
@click.argument("place", metavar="MODULE:CLASS")
@click.option("--size", multiple=True, metavar="KEY=VALUE", help="Argument of the class, such as width=32; repeatable.")
@common
def check_backbone(place: str, size: tuple[str, ...], console: Console) -> None:
    """
    Check a network of your own against the contract of a backbone, and show each property with its problems.

    MODULE is searched in this folder first; CLASS, which may be a function that returns a network, is called
    with the arguments of --size. Exit code 0 if all properties hold, 1 if
    one does not, 2 if there is no such class.

    \b
    Examples:
      maskdcpt check-backbone my_network:MyNetwork
      maskdcpt check-backbone maskdcpt.backbones:NAFNet --size width=8 --size enc_blk_nums=[1] --size dec_blk_nums=[1]
    """
    from maskdcpt.backbones.checking import examine_backbone, load_class

    found = examine_backbone(load_class(place, dict(_argument(text) for text in size)))
    console.data({"backbone": place, "properties": [asdict(one) for one in found]})
    for one in found:
        console.line(f"{'wrong' if one.problems else 'holds'}  {one.name}")
        for problem in one.problems:
            console.line(f"       {problem}")
    if any(one.problems for one in found):
        raise UirError(f"{place} does not meet the contract: see above, and maskdcpt/backbones/base.py")


def _argument(text: str) -> tuple[str, object]:
    from maskdcpt.config.toml import toml_value

    key, sign, value = text.partition("=")
    if not sign or not key.strip().isidentifier():
        raise UsageError(f"--size {text!r}: expected KEY=VALUE, such as width=32")
    return key.strip(), toml_value(value.strip())
