from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from uir_cli.maskdcpt import program

from maskdcpt.evaluation.paper_tables import (
    difference_row,
    lines,
    load_table,
    narrowed,
    own_row,
    to_html,
    to_latex,
    to_markdown,
)
from uirdata.degradations import DEGRADATIONS
from uirdata.errors import UirError, UsageError


@pytest.mark.parametrize(
    ("number", "method", "cell", "value"),
    [
        (1, "NAFNet+MaskDCPT", "deraining.psnr", 39.92),
        (1, "PromptIR+DCPT", "dehazing.psnr", 30.93),
        (2, "MaskDCPT", "dehazing.psnr", None),
        (3, "NAFNet+MaskDCPT-12D", "Urban100.sigma15", None),
        (5, "MaskDCPT-Restormer", "GoPro.psnr", 33.29),
        (6, "MaskDCPT-NAFNet", "low_blur_noise.fid", 10.27),
        (7, "50 % hidden", "dehazing.psnr", 32.71),
        (8, "16 x 16 pixels", "denoising.psnr", 31.3),
        (9, "block-wise", "low_light.psnr", 25.9),
        (10, "SwinIR", "0k.accuracy", 54),
        (11, "Restormer + MaskDCPT", "5D.psnr", 31.98),
    ],
)
def test_the_numbers_are_those_of_the_paper(number: int, method: str, cell: str, value: float | None) -> None:
    found = load_table(number).row(method).cells
    assert cell in found
    if value is not None:
        assert found[cell] == value


@pytest.mark.parametrize("number", range(1, 12))
def test_every_cell_has_its_column_and_every_column_a_known_degradation(number: int) -> None:
    table = load_table(number)
    ids = {column.id for column in table.columns}
    assert len(ids) == len(table.columns)
    assert all(row.cells.keys() <= ids for row in table.rows)
    assert {column.degradation for column in table.columns} <= {*DEGRADATIONS, ""}
    assert len({row.method for row in table.rows}) == len(table.rows)


def test_the_means_of_table_1_are_those_of_table_10() -> None:
    one, ten = load_table(1), load_table(10)
    for backbone in ("SwinIR", "NAFNet", "Restormer", "PromptIR"):
        row = one.row(f"{backbone}+MaskDCPT")
        psnr = [row.cells[column.id] for column in one.columns if column.metric == "psnr"]
        assert sum(psnr) / 5 == pytest.approx(ten.row(backbone).cells["100k.psnr"], abs=0.011)


def report(folder: Path) -> Path:
    means = [{"name": "haze", "psnr": 31.0, "ssim": 0.97}, {"name": "jpeg", "psnr": 30.0, "ssim": 0.9}]
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"by_degradation": means}))
    return folder


def test_an_evaluation_goes_into_the_cells_of_its_degradations(tmp_path: Path) -> None:
    table = load_table(1)
    own = own_row(table, "mine", report(tmp_path / "r"))
    assert own.cells == {"dehazing.psnr": 31.0, "dehazing.ssim": 0.97}
    more = difference_row(own, table.row("NAFNet+MaskDCPT"))
    assert more.cells == pytest.approx({"dehazing.psnr": 31.0 - 31.4, "dehazing.ssim": 0.97 - 0.978})
    with pytest.raises(UirError, match="no value for any column of table 6"):
        own_row(load_table(6), "mine", tmp_path / "r")
    with pytest.raises(UirError, match="cannot be read as a report"):
        own_row(table, "mine", tmp_path / "missing.json")


def test_each_form_has_each_number_once(tmp_path: Path) -> None:
    table = narrowed(load_table(1), ["psnr"])
    rows = [*table.rows, own_row(load_table(1), "mine & <yours>", report(tmp_path / "r"))]
    for text in (to_markdown(table, rows), to_latex(table, rows), to_html(table, rows)):
        assert text.count("39.92") == 1
        assert "0.986" not in text
    assert r"mine \& <yours>" in to_latex(table, rows)
    assert "mine &amp; &lt;yours&gt;" in to_html(table, rows)
    assert "**31.00**" in to_markdown(table, rows)


def test_doubtful_cells_are_marked_in_every_form_and_explained() -> None:
    table = load_table(7)
    for text in (to_markdown(table, table.rows), to_latex(table, table.rows), to_html(table, table.rows)):
        assert text.count("29.10?") == 1
        assert text.count("29.84?") == 1
        assert "? is doubtful: see below." in text
    five = load_table(5)
    marked = [cell for row in lines(five, five.rows) for cell in row if cell.endswith("?")]
    # Everything that stands under Test100, whose label may be wrong.
    assert len(marked) == sum(key.startswith("Test100") for row in five.rows for key in row.cells)
    assert not any("?" in cell for row in lines(load_table(1), load_table(1).rows) for cell in row)


@pytest.mark.parametrize("number", range(1, 12))
def test_a_doubt_is_about_cells_that_are_there(number: int) -> None:
    table = load_table(number)
    for doubt in table.doubtful:
        cells = [(r, c) for r in table.rows for c in table.columns if c.id in r.cells and doubt.holds(r, c)]
        assert cells
        assert table.doubts


def test_the_command_shows_differences(tmp_path: Path) -> None:
    args = [
        "table",
        "1",
        "--metric",
        "psnr",
        "--ours",
        f"mine={report(tmp_path / 'r')}",
        "--against",
        "NAFNet+MaskDCPT",
    ]
    result = CliRunner().invoke(program, [*args, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert rows[-1]["method"] == "mine minus NAFNet+MaskDCPT"
    assert list(rows[-1].values())[1] == "-0.40"
    assert "Table 1. Five degradations" in CliRunner().invoke(program, args).stdout
    assert "did you mean 'psnr'" in CliRunner().invoke(program, ["table", "1", "--metric", "psnrr"]).output
    assert CliRunner().invoke(program, ["table", "12"]).exit_code == 2


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'NAFNet\+MaskDCPT'"):
        load_table(1).row("NAFNet+MaskDCTP")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("values", None),
        ("values", 5),
        ("values", []),
        ("values", {"psnr": "30"}),
        ("values", {"psnr": 10**400}),
        ("values", {"psnr": True}),
        ("sets", None),
        ("missing", ...),
    ],
)
def test_a_report_of_somebody_else_is_refused_with_its_name(field: str, value: object, tmp_path: Path) -> None:
    cell = {"table": 1, "name": load_table(1).columns[0].cell, "values": {"psnr": 30.0}, "sets": ["x"], "missing": []}
    cell[field] = value
    if value is ...:
        del cell[field]
    short = [{"name": "x", "broken": 1}]
    (tmp_path / "report.json").write_text(json.dumps({"bench": "5d", "by_degradation": short, "cells": [cell]}))
    with pytest.raises(UirError, match=r"report\.json: "):
        own_row(load_table(1), "mine", tmp_path)
