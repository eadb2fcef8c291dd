from __future__ import annotations

import pytest
from uir_cli.console import Console, cell, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    # Decimal prefixes of the SI, as for disks and downloads.
    [
        (None, "unknown"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (2_500_000, "2.5 MB"),
        (22_408_017_592, "22.4 GB"),
        (1_234_000_000_000, "1.2 TB"),
    ],
)
def test_sizes_have_decimal_prefixes(size: int | None, text: str) -> None:
    assert size_text(size) == text


def test_cells_are_written_as_people_read_them() -> None:
    assert [cell(value) for value in (None, True, False, 2482988, 0.5, "x")] == [
        "",
        "yes",
        "no",
        "2,482,988",
        "0.50",
        "x",
    ]


def test_without_a_terminal_each_task_ends_in_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress() as progress:
        progress.begin("crops", 1200)
        progress.advance("crops", 1000)
        progress.advance("crops")
        progress.end("crops")
        progress.begin("bytes", 5_000_000, "bytes")
        progress.advance("bytes", 2_500_000)
        progress.end("bytes")
        progress.begin("names", None)
        progress.advance("names", 7)
        progress.end("names")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["crops: 1,001 of 1,200", "bytes: 2.5 MB", "names: 7"]
    assert printed.out == ""


def test_names_of_strangers_give_no_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b]0;title\x07\x9b2J\r.png"
    console = Console()
    console.line(name)
    console.table([{"file": name}])
    console.remark(name)
    console.warning(name)
    console.error("uir", name)
    with console.progress() as progress:
        progress.note(name)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert text.isprintable() or not {"\x1b", "\x07", "\x9b", "\r"} & set(text)
        assert r"a\x1b]0;title\x07\x9b2J\x0d.png" in text
