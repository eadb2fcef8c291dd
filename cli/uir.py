"""uir: from published sources to shards."""

from __future__ import annotations

import sys

# isort: off
from . import interrupts as _interrupts  # noqa: F401  # first: Ctrl-C while the others are imported shows no traceback
# isort: on

import click

from .options import Program

_COMMANDS = {
    "sources": "uir_commands.sources:sources",
    "fetch": "uir_commands.fetch:fetch",
    "status": "uir_commands.status:status",
    "doctor": "uir_commands.doctor:doctor",
    "verify": "uir_commands.verify:verify",
    "crop": "uir_commands.crop:crop",
    "build-shards": "uir_commands.build:build_shards",
    "stats": "uir_commands.stats:stats",
    "audit": "uir_commands.audit:audit",
    "push-hf": "uir_commands.push:push_hf",
    "forget": "uir_commands.forget:forget",
    "degradations": "uir_commands.degradations:degradations",
    "demo": "uir_commands.demo:demo",
}


@click.group(name="uir", cls=Program, commands_in=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="universal-image-restoration")
def program() -> None:
    """
    Image restoration data: download published sources, verify, crop, degrade and shard them.

    \b
    The usual order:
      uir sources --subset 5d         list sources, sizes and licences
      uir fetch --subset 5d           download and unpack them
      uir status --subset 5d          what is here, and the next command
      uir verify --subset 5d          check files and pairs
      uir build-shards --subset 5d    write WebDataset shards
      uir stats                       count samples, compared with the paper

    \b
    Exit codes: 0 done, 1 failed, 2 misuse, 3 partly done (run the same command again), 130 interrupted.
    """


def main() -> None:
    """Run the program."""
    program.main(args=sys.argv[1:], prog_name="uir")


if __name__ == "__main__":
    main()
