"""Ctrl-C and SIGTERM at every moment of a command: the documented exit code, one line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may have started the tests to ignore it.
sys.argv[0] = {program!r}
{before}
from uir_cli.{program} import main
main()
"""
# As if the keys were pressed while a module is imported.
_ON_IMPORT = """
class Press:
    def find_spec(self, name, *_):
        if name == {module!r}:
            for _ in range({times}):
                signal.raise_signal(signal.{signal})
sys.meta_path.insert(0, Press())
"""
_IN_COMMAND = """
from uir_cli import console
def press(*_, **__):
    try:
        {first}
    finally:
        {then}
console.Console.data = press
"""
_PRESS = "signal.raise_signal(signal.SIGINT)"


def ended(before: str, *words: str, program: str = "uir") -> tuple[int, str]:
    """Return the exit code and stderr of a command."""
    done = subprocess.run(
        [sys.executable, "-c", _START.format(before=before, program=program), *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("program", "module", "words"),
    [
        ("uir", "click", ["sources"]),
        ("uir", "uirdata.errors", ["sources"]),
        ("uir", "uirdata.pipeline.verifying", ["verify"]),
        ("maskdcpt", "click", ["train"]),
        ("maskdcpt", "numpy", ["report", "x"]),
    ],
)
def test_ctrl_c_during_an_import_gives_130_and_one_line(
    program: str, module: str, words: list[str], times: int
) -> None:
    code, said = ended(_ON_IMPORT.format(module=module, times=times, signal="SIGINT"), *words, program=program)
    assert (code, said) == (130, "interrupted; finished work is kept\n")


@pytest.mark.parametrize("presses", [1, 2, 3])
def test_ctrl_c_in_a_command_gives_130_and_one_line_however_often_it_is_pressed(presses: int) -> None:
    before = _IN_COMMAND.format(first=_PRESS, then=_PRESS if presses > 1 else "pass")
    if presses > 2:
        before += f"import atexit\natexit.register(lambda: {_PRESS})\n"
    code, said = ended(before, "sources", "--json")
    assert code == 130
    assert set(said.split("\n")) - {""} <= {
        "uir: interrupted; finished work is kept",
        "interrupted; finished work is kept",
    }
    assert said


@pytest.mark.parametrize(
    "moment",
    [
        f"import atexit\natexit.register(lambda: {_PRESS})",
        f"class End:\n    def __del__(self): {_PRESS}\nend = End()",
        f"class Cycle:\n    def __del__(self): {_PRESS}\nend = Cycle()\nend.itself = end",
    ],
)
def test_ctrl_c_after_the_command_leaves_no_traceback(moment: str) -> None:
    code, said = ended(moment, "sources", "--json")
    # Nothing was left to interrupt where the interpreter itself is going away.
    assert code in (0, 130)
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_ctrl_c_that_becomes_another_error_is_still_an_interruption() -> None:
    before = _IN_COMMAND.format(first=_PRESS, then="raise ImportError('numpy.core failed to import')")
    assert ended(before, "sources", "--json") == (130, "uir: interrupted; finished work is kept\n")


def test_sigterm_gives_143_and_one_line() -> None:
    for before in (
        _ON_IMPORT.format(module="click", times=1, signal="SIGTERM"),
        _IN_COMMAND.format(first="signal.raise_signal(signal.SIGTERM)", then="pass"),
    ):
        assert ended(before, "sources", "--json") == (143, "ended by SIGTERM; finished work is kept\n")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("OSError(24, 'Too many open files')", "ulimit -n"),
        ("OSError(23, 'Too many open files in system')", "ulimit -n"),
        ("EOFError() from OSError(24, 'Too many open files')", "ulimit -n"),
        ("OSError(36, 'File name too long', 'a' * 5000)", "uir: aaaa"),
        ("MemoryError()", "out of memory; finished work is kept. Use fewer --jobs or --workers"),
        ("OSError(12, 'Cannot allocate memory')", "out of memory"),
    ],
)
def test_what_the_system_refuses_is_said_and_is_no_interruption(error: str, says: str) -> None:
    code, said = ended(_IN_COMMAND.format(first=f"raise {error}", then="pass"), "sources", "--json")
    assert code == 1
    assert says in said
    assert "Traceback" not in said
    assert "interrupted" not in said


def test_a_pipe_that_broke_is_no_interruption() -> None:
    code, said = ended(_IN_COMMAND.format(first="raise EOFError", then="pass"), "sources", "--json")
    assert code == 1
    assert "interrupted" not in said
