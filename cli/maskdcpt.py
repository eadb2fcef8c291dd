"""maskdcpt: pre-train, fine-tune, evaluate, restore."""

from __future__ import annotations

import sys

# isort: off
from . import interrupts as _interrupts  # noqa: F401  # first: Ctrl-C while the others are imported shows no traceback
# isort: on

import click

from .options import Program

_COMMANDS = {
    "train": "maskdcpt_commands.train:train",
    "plot": "maskdcpt_commands.plot:plot",
    "reproduce": "maskdcpt_commands.reproduce:reproduce",
    "eval": "maskdcpt_commands.eval:evaluate",
    "compare": "maskdcpt_commands.compare:compare",
    "restore": "maskdcpt_commands.restore:restore",
    "report": "maskdcpt_commands.report:report",
    "table": "maskdcpt_commands.table:table",
    "probe": "maskdcpt_commands.probe:probe",
    "bench": "maskdcpt_commands.bench:bench",
    "check-backbone": "maskdcpt_commands.check_backbone:check_backbone",
    "export": "maskdcpt_commands.export:export",
}


@click.group(
    name="maskdcpt", cls=Program, commands_in=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="universal-image-restoration")
def program() -> None:
    """
    Masked degradation classification pre-training (MaskDCPT), and image restoration with the trained networks.

    \b
    The usual steps, on shards that `uir build-shards` wrote:
      maskdcpt train --shards DIR --preset pretrain-5d-nafnet --out runs/pre
      maskdcpt train --shards DIR --preset finetune-5d-nafnet --init runs/pre --out runs/fine
      maskdcpt eval --checkpoint runs/fine --shards DIR
      maskdcpt restore photo.jpg --checkpoint runs/fine --out restored

    \b
    Exit codes: 0 done, 1 failed, 2 misuse, 3 partly done (run it again; train with --resume), 130 interrupted.
    """


def main() -> None:
    """Run the program."""
    program.main(args=sys.argv[1:], prog_name="maskdcpt")


if __name__ == "__main__":
    main()
