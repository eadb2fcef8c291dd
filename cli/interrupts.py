"""
Ctrl-C of the programs. Importing this module ends them silently on Ctrl-C until a command runs, so it comes first.

The first Ctrl-C of a running command raises KeyboardInterrupt; the next one ends the process at once. Complete files
appear under their names only when they are complete, so nothing is half written then.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130

_SHOW_CURSOR = b"\x1b[?25h"


def end_now(_number: int = 0, _frame: FrameType | None = None) -> None:
    """End the process with 130, without running anything else."""
    note = b"interrupted; finished work is kept\n"
    # os.write: a stream may be locked by the code that was interrupted.
    os.write(2, _SHOW_CURSOR + note if os.isatty(2) else note)
    os._exit(INTERRUPTED)


def _starting() -> None:
    """End silently on Ctrl-C until `first_raises`, if this process is one of the programs: it is importing modules."""
    # A test, or another program, that imports this package keeps its own handling.
    runs_program = os.path.basename(sys.argv[0]) in ("uir", "maskdcpt", "-m") and "pytest" not in sys.modules  # noqa: PTH119
    if runs_program and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_now)


@contextmanager
def first_raises() -> Iterator[None]:
    """
    Raise KeyboardInterrupt for the first Ctrl-C while the block runs, and end the process at the second.

    Commands that stop in an orderly way, such as a training, set handlers of their own in the meantime.
    """

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, end_now)
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    if before not in (signal.default_int_handler, end_now):
        # Ignored (nohup), or handled by the program that calls this one.
        yield
        return
    try:
        signal.signal(signal.SIGINT, first)
    except ValueError:
        # Not the main thread.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_starting()
