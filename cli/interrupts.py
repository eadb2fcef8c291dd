"""
Ctrl-C and SIGTERM of the programs. Importing this module sets what they do until a command runs, so it comes first.

The first Ctrl-C of a running command raises KeyboardInterrupt; one during an import, and the next one, end the process
at once, as SIGTERM does. Complete files appear under their names only when they are complete, so nothing is half
written then.
"""

from __future__ import annotations

# Nothing that takes time to import comes before the handlers are set.
import atexit
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

INTERRUPTED = 130
_TERMINATED = 143

_SHOW_CURSOR = b"\x1b[?25h"


def end_now(_number: int = 0, _frame: FrameType | None = None) -> None:
    """End the process with 130, without running anything else."""
    _end(INTERRUPTED, b"interrupted; finished work is kept\n")


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # By default the first process of a container ignores SIGTERM, and a progress bar leaves the cursor hidden.
    _end(_TERMINATED, b"ended by SIGTERM; finished work is kept\n")


def _end(code: int, note: bytes) -> None:
    try:
        # os.write: a stream may be locked by the code that was interrupted.
        os.write(2, _SHOW_CURSOR + note if os.isatty(2) else note)
    finally:
        os._exit(code)


def _starting() -> None:
    """Set the handlers until `first_raises`, if this process is one of the programs: it is importing modules."""
    # A test, or another program, that imports this package keeps its own handling.
    runs_program = os.path.basename(sys.argv[0]) in ("uir", "maskdcpt", "-m") and "pytest" not in sys.modules  # noqa: PTH119
    if runs_program and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_now)
        # Called last: the interpreter takes its handlers away then, and there is nothing left to interrupt.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if runs_program and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


_starting()

from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass  # noqa: E402


@dataclass
class Heard:
    """Whether Ctrl-C was heard while a command ran: what fails afterwards, fails of it."""

    interrupted: bool = False


@contextmanager
def first_raises() -> Iterator[Heard]:
    """
    Raise KeyboardInterrupt for the first Ctrl-C while the block runs, and end the process at the second.

    Commands that stop in an orderly way, such as a training, set handlers of their own in the meantime.
    """
    heard = Heard()

    def first(number: int, frame: FrameType | None) -> None:
        heard.interrupted = True
        signal.signal(signal.SIGINT, end_now)
        if _is_import(frame):
            end_now()
        signal.default_int_handler(number, frame)

    def unraisable(problem: sys.UnraisableHookArgs) -> None:
        if isinstance(problem.exc_value, KeyboardInterrupt):
            # Raised in a finaliser, which cannot pass it on: the command would run on as if nothing had been pressed.
            end_now()
        hook(problem)

    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if before not in (signal.default_int_handler, end_now):
        # Ignored (nohup), or handled by the program that calls this one.
        yield heard
        return
    try:
        signal.signal(signal.SIGINT, first)
    except ValueError:
        # Not the main thread.
        yield heard
        return
    sys.unraisablehook = unraisable
    try:
        yield heard
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, before)


def _is_import(frame: FrameType | None) -> bool:
    """Return whether a module is being imported: an error there can leave half of it, or become an ImportError."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
