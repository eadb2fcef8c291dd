"""The only module that prints. Data goes to stdout, the rest to stderr; passwords and control codes to neither."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from uirdata.progress import Progress, Silent, Unit
from uirdata.transfer import redacted

if TYPE_CHECKING:
    import rich.console
    import rich.progress


class Console:
    """
    The output of a command.

    Args:
        as_json: print one JSON document instead of tables and sentences.
        quiet: show no progress and no remarks, only data and errors.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def data(self, document: Any) -> None:
        """Print the JSON document with `--json`; print nothing without it."""
        if self.as_json:
            text = json.dumps(_without_nan(document), indent=2, ensure_ascii=False, allow_nan=False, default=str)
            sys.stdout.write(redacted(text) + "\n")

    def line(self, text: str = "") -> None:
        """Print a line of the result; nothing with `--json`."""
        if not self.as_json:
            self._out().print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def table(self, rows: Sequence[Mapping[str, Any]], *, title: str = "", right: Sequence[str] = ()) -> None:
        """
        Print a table of the result; nothing with `--json`.

        Args:
            rows: cells by column; the keys of the first row are the columns. Integers get thousands separators.
            title: printed above the table.
            right: text columns to align right; numbers are always aligned right.
        """
        if self.as_json or not rows:
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
        for name in rows[0]:
            numeric = name in right or all(isinstance(row[name], (int, float)) for row in rows)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(value)) for value in row.values()))
        self._out().print(table)

    def remark(self, text: str) -> None:
        """Print a remark about the work on stderr; nothing with `-q`."""
        if not self.quiet:
            self._err().print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print a warning on stderr: something that the user should act on."""
        self._err().print(f"warning: {printable(text)}", markup=False, highlight=False, soft_wrap=True, style="yellow")

    def error(self, program: str, text: str) -> None:
        """Print on stderr why a command failed."""
        self._err().print(f"{program}: {printable(text)}", markup=False, highlight=False, soft_wrap=True, style="red")

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show progress bars on stderr while the block runs; nothing with `-q`, plain lines without a terminal."""
        if self.quiet:
            yield Silent()
            return
        err = self._err()
        if not err.is_terminal:
            yield _Lines(self)
            return
        with _bars(err) as bars:
            yield _Bars(bars, self)

    def _out(self) -> rich.console.Console:
        from rich.console import Console as RichConsole

        # A pipe has no width; rich would truncate tables to 80 columns.
        width = None if sys.stdout.isatty() else 200
        return RichConsole(file=sys.stdout, width=width)

    def _err(self) -> rich.console.Console:
        from rich.console import Console as RichConsole

        return RichConsole(file=sys.stderr)


def _without_nan(value: Any) -> Any:
    """Return a document with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cell(value: Any) -> str:
    """
    Format a value for a table cell.

    >>> cell(2482988), cell(0.5), cell(None), cell(True)
    ('2,482,988', '0.50', '', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.2f}"
    return printable(str(value))


def printable(text: str) -> str:
    r"""
    Return a text as it is shown: without secrets of URLs, and with control characters written out.

    Names and texts may be a stranger's, and a terminal takes such characters as orders.

    >>> printable("a\x1b[2J.png")
    'a\\x1b[2J.png'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", redacted(text))


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def size_text(size: int | None) -> str:
    """
    Format a number of bytes with a unit.

    >>> size_text(999), size_text(22_408_017_592), size_text(None)
    ('999 B', '22.4 GB', 'unknown')
    """
    if size is None:
        return "unknown"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _bars(console: rich.console.Console) -> rich.progress.Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Bars:
    """Progress as progress bars."""

    def __init__(self, bars: rich.progress.Progress, console: Console) -> None:
        self._bars = bars
        self._console = console
        self._tasks: dict[str, tuple[rich.progress.TaskID, Unit]] = {}

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        self.end(task)
        self._tasks[task] = (self._bars.add_task(task, total=total, rate=""), unit)

    def advance(self, task: str, amount: int = 1) -> None:
        if task not in self._tasks:
            return
        number, unit = self._tasks[task]
        self._bars.advance(number, amount)
        speed = next((t.speed for t in self._bars.tasks if t.id == number), None)
        if speed:
            rate = f"{size_text(int(speed))}/s" if unit == "bytes" else f"{speed:.1f}/s"
            self._bars.update(number, rate=rate)

    def end(self, task: str) -> None:
        if task in self._tasks:
            self._bars.remove_task(self._tasks.pop(task)[0])

    def note(self, message: str) -> None:
        self._bars.console.print(printable(message), markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """Progress as one line for each finished task, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done: dict[str, tuple[int, int | None, Unit]] = {}

    def begin(self, task: str, total: int | None, unit: Unit = "items") -> None:
        self._done[task] = (0, total, unit)

    def advance(self, task: str, amount: int = 1) -> None:
        if task in self._done:
            done, total, unit = self._done[task]
            self._done[task] = (done + amount, total, unit)

    def end(self, task: str) -> None:
        if task in self._done:
            done, total, unit = self._done.pop(task)
            shown = size_text(done) if unit == "bytes" else f"{done:,}" + (f" of {total:,}" if total else "")
            self._console.remark(f"{task}: {shown}")

    def note(self, message: str) -> None:
        self._console.remark(message)
