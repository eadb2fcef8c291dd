"""maskdcpt: pre-train, fine-tune, evaluate, restore."""

from __future__ import annotations

import sys

import click

from cli.options import Program

_COMMANDS = {
    "train": "cli.maskdcpt_train:train",
    "plot": "cli.maskdcpt_train:plot",
    "reproduce": "cli.maskdcpt_reproduce:reproduce",
    "eval": "cli.maskdcpt_eval:evaluate",
    "compare": "cli.maskdcpt_eval:compare",
    "restore": "cli.maskdcpt_restore:restore",
    "report": "cli.maskdcpt_study:report",
    "table": "cli.maskdcpt_table:table",
    "probe": "cli.maskdcpt_study:probe",
    "bench": "cli.maskdcpt_study:bench",
    "check-backbone": "cli.maskdcpt_study:check_backbone",
    "export": "cli.maskdcpt_export:export",
}


@click.group(
    name="maskdcpt", cls=Program, commands_in=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="universal-image-restoration")
def program() -> None:
    """
    Masked degradation classification pre-training, and image restoration with what it gives.

    \b
    The usual way, on shards that `uir build-shards` wrote:
      maskdcpt train --shards DIR --preset pretrain-5d-nafnet --out runs/pre
      maskdcpt train --shards DIR --preset finetune-5d-nafnet --init runs/pre --out runs/fine
      maskdcpt eval --checkpoint runs/fine --shards DIR
      maskdcpt restore photo.jpg --checkpoint runs/fine --out restored

    \b
    Exit codes: 0 done, 1 failed, 2 misuse, 3 partly done (the same again, train with --resume), 130 interrupted.
    """


def main() -> None:
    """Run the program."""
    program.main(args=sys.argv[1:], prog_name="maskdcpt")


if __name__ == "__main__":
    # torchrun starts modules: torchrun -m cli.maskdcpt train ...
    main()
