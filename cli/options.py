"""Options and parameter types that the commands of both programs share, and the class of both programs."""

from __future__ import annotations

import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from uirdata.errors import UirError, nearest
from uirdata.storage.byte_sizes import parse_size

from .console import Console
from .interrupts import INTERRUPTED, first_raises

F = TypeVar("F", bound=Callable[..., Any])

ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="UIR_ROOT",
    default=Path("uir-data"),
    show_default=True,
    help="Data folder. Also set by UIR_ROOT.",
)
SUBSET = click.option(
    "--subset", metavar="NAME", help="5d, 12d, single, mixed, full, bench, sample or the id of a source."
)
JOBS = click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="cores", help="Number of parallel jobs."
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done; write and transfer nothing.")
SEED = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of all random draws."
)
CHECKPOINT_HELP = "A run, step-NNNNNN, .safetensors, .pth (also original:FILE, dcpt:FILE), or hf://OWNER/NAME[/FILE]."
BACKBONE = click.option(
    "--backbone", default="nafnet", show_default=True, help="Network for newly initialised weights."
)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1.")


SKIP_BROKEN = click.option(
    "--skip-broken", is_flag=True, help="Leave out images whose output or score is NaN or infinite; exit code 3."
)


_TRAINING_PACKAGES = frozenset({"torch", "safetensors"})
"""What the extra `train` installs, and all of `maskdcpt` imports."""


def common(command: F) -> F:
    """Add --json, -q and --debug to a command, and pass it a Console as `console`."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Show no progress and no remarks.")
    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return command(*args, console=Console(as_json=as_json, quiet=quiet), **kwargs)

    return wrapped  # type: ignore[return-value]  # functools.wraps keeps what click reads


class Program(click.Group):
    """
    A program whose commands are imported when they run, and which turns errors into messages and exit codes.

    A UirError is printed as one line on stderr and sets the exit code; Ctrl-C gives 130. `--debug` shows the traceback.
    """

    def __init__(self, *args: Any, commands_in: dict[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._where = commands_in or {}
        self.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they are usually run."""
        return [*self._where, *(name for name in super().list_commands(ctx) if name not in self._where)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it."""
        if cmd_name not in self._where:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._where[cmd_name].partition(":")
        command = getattr(import_module(f".{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return a command; for an unknown one, fail with the most similar name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no command {args[0]!r}: {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, and end the process with the documented exit code."""
        kwargs["standalone_mode"] = False
        program = self.name or "uir"
        for stream in (sys.stdout, sys.stderr):
            # A file name that the terminal cannot show must not end the program.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        given = kwargs.get("args") or (args[0] if args else None)
        debug = "--debug" in (sys.argv[1:] if given is None else given)
        try:
            with first_raises() as heard:
                result = super().main(*args, **kwargs)
        except click.ClickException as error:
            error.show()
            raise SystemExit(error.exit_code) from None
        except (click.Abort, KeyboardInterrupt) as error:
            if isinstance(error.__cause__, EOFError):
                # For click the end of a pipe between processes is the end of what is typed at a prompt.
                _end_by_system(program, error.__cause__, debug)
                raise error.__cause__ from None
            _end_interrupted(program)
        except UirError as error:
            if debug:
                raise
            Console().error(program, str(error))
            raise SystemExit(INTERRUPTED if heard.interrupted else error.exit_code) from None
        except ModuleNotFoundError as error:
            # The base install has no torch. Another missing module is a fault of ours, and shows its traceback.
            if debug or (error.name or "").partition(".")[0] not in _TRAINING_PACKAGES:
                raise
            Console().error(
                program,
                f"this command needs {error.name}, which is not installed: "
                "pip install 'universal-image-restoration[train]'",
            )
            raise SystemExit(1) from None
        except BrokenPipeError:
            # The reader of our output (head, less) has closed the pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise SystemExit(0) from None
        except Exception as error:
            if heard.interrupted and not debug:
                _end_interrupted(program)
            _end_by_system(program, error, debug)
            raise
        # click returns the code of ctx.exit(), otherwise what the command returned.
        raise SystemExit(result if isinstance(result, int) else 0)


def _end_interrupted(program: str) -> NoReturn:
    Console().error(program, "interrupted; finished work is kept")
    raise SystemExit(INTERRUPTED) from None


def _end_by_system(program: str, error: BaseException, debug: bool) -> None:
    """End the program with a sentence for an error of the system; return if something else failed."""
    cause: BaseException | None = error
    while cause is not None and not debug:
        number = cause.errno if isinstance(cause, OSError) else None
        text = ""
        if number in (errno.EMFILE, errno.ENFILE):
            text = (
                "too many open files; finished work is kept. Raise the limit (ulimit -n 4096), or use fewer --jobs or "
                "--workers"
            )
        if isinstance(cause, MemoryError) or number == errno.ENOMEM:
            text = "out of memory; finished work is kept. Use fewer --jobs or --workers, or smaller tiles"
        if text:
            Console().error(program, text)
            raise SystemExit(1) from None
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.filename is not None and error.strerror and not debug:
        Console().error(program, f"{error.filename}: {error.strerror}")
        raise SystemExit(1) from None


class Size(click.ParamType[int]):
    """A number of bytes: 500MB, 1GB, 1.5GiB, 1000000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes of a text."""
        if isinstance(value, int):
            return value
        size = parse_size(str(value))
        if size is None:
            self.fail(f"{value!r} is not a size; write it like 500MB or 1GB", param, ctx)
        return size


class ShardPlace(click.ParamType["str | Path"]):
    """A shard folder, hf://datasets/OWNER/NAME[@REVISION], or its URL: http(s), s3 or another protocol of fsspec."""

    name = "shards"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Return a URL unchanged, and everything else as a path."""
        text = str(value)
        if not text:
            # Path("") is the current folder, which is nobody's pool.
            self.fail("is empty; expected a folder of shards, or a URL", param, ctx)
        if "://" in text:
            return text
        path = Path(text)
        if path.is_file():
            self.fail(f"{text!r} is a file; expected a folder of shards", param, ctx)
        return path


class CheckpointPlace(click.ParamType["str | Path"]):
    """A run, a checkpoint, a file of weights, original:FILE, dcpt:FILE, or hf://OWNER/NAME[@REVISION]."""

    name = "checkpoint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Return a URL unchanged, and everything else as a path."""
        if str(value) == "":
            self.fail("is empty; expected a run, a checkpoint or a file of weights", param, ctx)
        return str(value) if str(value).startswith("hf://") else Path(str(value))


CHECKPOINT = click.option("--checkpoint", type=CheckpointPlace(), required=True, help=CHECKPOINT_HELP)
