"""One name, one meaning, for both programs. Texts become values here, at the door."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click

from uirdata.errors import UirError, nearest
from uirdata.storage.byte_sizes import parse_size

from .console import Console

F = TypeVar("F", bound=Callable[..., Any])

ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="UIR_ROOT",
    default=Path("uir-data"),
    show_default=True,
    help="Where data lies. Also UIR_ROOT.",
)
SUBSET = click.option("--subset", metavar="NAME", help="5d, 12d, single, mixed, full, bench, sample or a source's id.")
JOBS = click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores", help="How much to do at once."
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done; write and transfer nothing.")
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Decides all draws."
)
CHECKPOINT_HELP = "A run, step-NNNNNN, .safetensors, .pth (also original:FILE, dcpt:FILE), or hf://OWNER/NAME[/FILE]."
BACKBONE = click.option("--backbone", default="nafnet", show_default=True, help="For fresh weights.")
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")


def common(command: F) -> F:
    """Give a command --json and -q, and hand it a Console as `console`."""

    @click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress, no remarks.")
    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return command(*args, console=Console(as_json=as_json, quiet=quiet), **kwargs)

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps what click reads


class Program(click.Group):
    """
    A command line whose commands are imported when they run, and whose errors end here.

    A UirError becomes one line on stderr and its exit code; Ctrl-C becomes 130. `--debug` shows the traceback instead.
    """

    def __init__(self, *args: Any, commands_in: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._where = commands_in or {}
        self.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which people use them."""
        return [*self._where, *(name for name in super().list_commands(ctx) if name not in self._where)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._where:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._where[cmd_name].partition(":")
        command = getattr(import_module(f".{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; an unknown one is told the nearest name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no command {args[0]!r}: {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and end the process with the exit code that the contract says."""
        kwargs["standalone_mode"] = False
        program = self.name or "uir"
        for stream in (sys.stdout, sys.stderr):
            # A file name that the terminal cannot show is no reason to stop.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        given = kwargs.get("args") or (args[0] if args else None)
        debug = "--debug" in (sys.argv[1:] if given is None else given)
        try:
            result = super().main(*args, **kwargs)
        except click.ClickException as error:
            error.show()
            raise SystemExit(error.exit_code) from None
        except (click.Abort, KeyboardInterrupt):
            Console().error(program, "interrupted; what was finished is kept")
            raise SystemExit(130) from None
        except UirError as error:
            if debug:
                raise
            Console().error(program, str(error))
            raise SystemExit(error.exit_code) from None
        except BrokenPipeError:
            # The reader of our output (head, less) has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise SystemExit(0) from None
        # click gives back the code of ctx.exit(), and what a command returned otherwise.
        raise SystemExit(result if isinstance(result, int) else 0)


class Size(click.ParamType[int]):
    """A number of bytes: 500MB, 1GB, 1.5GiB, 1000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse it."""
        if isinstance(value, int):
            return value
        size = parse_size(str(value))
        if size is None:
            self.fail(f"{value!r} is no size; write it like 500MB or 1GB", param, ctx)
        return size


class ShardPlace(click.ParamType["str | Path"]):
    """A shard folder, hf://datasets/OWNER/NAME[@REVISION], or the address of one: http(s), s3 and what fsspec knows."""

    name = "shards"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Keep an address as it is, and make a path of all else."""
        text = str(value)
        if "://" in text:
            return text
        path = Path(text)
        if path.is_file():
            self.fail(f"{text!r} is a file; a folder of shards was expected", param, ctx)
        return path


class CheckpointPlace(click.ParamType["str | Path"]):
    """A run, a checkpoint, a file of weights, original:FILE or dcpt:FILE, or hf://OWNER/NAME[@REVISION]."""

    name = "checkpoint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Keep an address as it is, and make a path of all else."""
        if str(value) == "":
            self.fail("names nothing", param, ctx)
        return str(value) if str(value).startswith("hf://") else Path(str(value))


CHECKPOINT = click.option("--checkpoint", type=CheckpointPlace(), required=True, help=CHECKPOINT_HELP)
