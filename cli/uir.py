"""uir: from published sources to shards."""

from __future__ import annotations

import sys

import click

from cli.options import Program

_COMMANDS = {
    "sources": "cli.uir_sources:sources",
    "fetch": "cli.uir_sources:fetch",
    "verify": "cli.uir_sources:verify",
    "crop": "cli.uir_crop:crop",
    "build-shards": "cli.uir_build:build_shards",
    "stats": "cli.uir_stats:stats",
    "audit": "cli.uir_audit:audit",
    "push-hf": "cli.uir_push:push_hf",
    "degradations": "cli.uir_degradations:degradations",
    "demo": "cli.demo:demo",
}


@click.group(name="uir", cls=Program, commands_in=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="universal-image-restoration")
def program() -> None:
    """
    Image restoration data: fetch published sources, verify, crop, degrade and shard them.

    \b
    The usual way:
      uir sources --subset 5d         what there is, and what it costs
      uir fetch --subset 5d           bring it home
      uir verify --subset 5d          prove what arrived
      uir build-shards --subset 5d    write WebDataset shards
      uir stats                       count them, beside the paper's table

    \b
    Exit codes: 0 done, 1 failed, 2 misuse, 3 partly done (run the same command again), 130 interrupted.
    """


def main() -> None:
    """Run the program."""
    program.main(args=sys.argv[1:], prog_name="uir")


if __name__ == "__main__":
    main()
