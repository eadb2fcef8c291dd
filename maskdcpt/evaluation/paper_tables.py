"""The paper's tables, and the user's own results in the same cells."""

from __future__ import annotations

import html
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from maskdcpt.evaluation.scores import LARGEST_SCORE, EvalReport
from maskdcpt.evaluation.test_sets import Bench
from uirdata.errors import UirError, UsageError, nearest
from uirdata.validators import finite_number, json_object, load_json, naming

NUMBERS = "paper_tables.toml"
_DIGITS = {"psnr": 2, "accuracy": 0, "ssim": 3, "lpips": 3, "fid": 2, "piqe": 2, "brisque": 2}


@dataclass(frozen=True)
class Column:
    """
    A column of a table.

    Attributes:
        id: such as "dehazing.psnr".
        label: for display.
        degradation: the degradation; "" where there is none or several.
        metric: psnr, ssim, lpips, fid, piqe, brisque or accuracy.
    """

    id: str
    label: str
    degradation: str
    metric: str

    @property
    def cell(self) -> str:
        """The name of its cell, as in benches."""
        return self.id.removesuffix(f".{self.metric}")


@dataclass(frozen=True)
class Row:
    """
    A method of a table.

    Attributes:
        method: its name.
        cells: column to value; a missing cell is not printed in the paper, or could not be read.
        ours: whether it is the user's own result, not from the paper.
        partial: columns whose value is over fewer images than the paper's.
    """

    method: str
    cells: Mapping[str, float]
    ours: bool = False
    partial: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Doubt:
    """
    Cells of a table whose numbers are not certain.

    Attributes:
        method: of the row; "" for all.
        column: prefix of the columns' ids; "" for all.
    """

    method: str = ""
    column: str = ""

    def holds(self, row: Row, column: Column) -> bool:
        """Whether a cell is one of them."""
        return not row.ours and self.method in ("", row.method) and column.id.startswith(self.column)


@dataclass(frozen=True)
class PaperTable:
    """
    A table of the paper.

    Attributes:
        number: 1 to 11.
        title: for display.
        doubts: what is not certain about its numbers, in words.
        doubtful: the cells that are not certain.
        columns: in order.
        rows: in order.
    """

    number: int
    title: str
    doubts: tuple[str, ...]
    doubtful: tuple[Doubt, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def row(self, method: str) -> Row:
        """
        Return the row of a method.

        Raises:
            UsageError: there is no method of that name.
        """
        for row in self.rows:
            if row.method == method:
                return row
        raise UsageError(f"table {self.number} has no {method!r}: {nearest(method, [r.method for r in self.rows])}")


def load_table(number: int) -> PaperTable:
    """
    Return a table of the paper.

    Raises:
        UsageError: there is no table of that number.
    """
    document = tomllib.loads((files("maskdcpt.evaluation") / NUMBERS).read_text(encoding="utf-8"))
    for entry in document["table"]:
        if entry["number"] == number:
            return PaperTable(
                number=number,
                title=entry["title"],
                doubts=tuple(entry["doubts"]),
                doubtful=tuple(Doubt(**doubt) for doubt in entry["doubtful"]),
                columns=tuple(Column(**column) for column in entry["columns"]),
                rows=tuple(Row(row["method"], row["cells"]) for row in entry["row"]),
            )
    raise UsageError(f"there is no table {number}; the paper has 1 to {len(document['table'])}")


def own_row(table: PaperTable, name: str, report: Path) -> Row:
    """
    Return the user's own evaluation as a row.

    For a bench of this table the row has its cells; for shards the mean of each degradation in the columns of that
    degradation.

    Args:
        table: the table whose columns are filled.
        name: of the row.
        report: report.json of `maskdcpt eval --out`, or its folder.

    Raises:
        UirError: the report cannot be read, or has no value for any column.
    """
    file = report / "report.json" if report.is_dir() else report
    try:
        with naming(UirError, str(file)):
            document = json_object(load_json(file.read_bytes()))
        means: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in document["by_degradation"]}
        of_bench = {cell["name"]: cell for cell in document.get("cells", ()) if cell["table"] == table.number}
        short = {
            part["name"]
            for part in (*document.get("by_set", ()), *document["by_degradation"])
            if part.get("expected", 0) not in (0, part.get("images")) or part.get("broken") or part.get("fewer")
        }
        cells, partial = {}, set()
        for column in table.columns:
            cell = of_bench.get(column.cell)
            if document.get("bench"):
                value = cell["values"].get(column.metric) if cell else None
            else:
                value = means.get(column.degradation, {}).get(column.metric)
            if value is not None:
                cells[column.id] = float(finite_number(value, -LARGEST_SCORE, LARGEST_SCORE))
            if (cell and (cell["missing"] or short.intersection(cell["sets"]))) or (
                not document.get("bench") and column.degradation in short
            ):
                partial.add(column.id)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UirError(f"{file}: cannot be read as a report of `maskdcpt eval --out` ({error})") from error
    if not cells:
        raise UirError(f"{file}: has no value for any column of table {table.number}")
    return Row(name, cells, ours=True, partial=frozenset(partial))


def beside_paper(report: EvalReport, bench: Bench) -> list[dict[str, str]]:
    """
    Return the cells of a bench next to those of the paper, a line for each metric.

    The paper's row is that of MaskDCPT with the same backbone, where the table has one.
    """
    table = load_table(bench.table)
    candidates = [row for row in table.rows if "MaskDCPT" in row.method]
    alike = [row for row in candidates if report.backbone in row.method.lower()]
    theirs = (alike or candidates)[0]
    short = {
        means.name for means in report.by_set if means.expected not in (0, means.images) or means.broken or means.fewer
    }
    lines = []
    for cell in report.cells:
        for column in (column for column in table.columns if column.cell == cell.name):
            own, paper = cell.values.get(column.metric), theirs.cells.get(column.id)
            partial = frozenset([column.id]) if cell.missing or short.intersection(cell.sets) else frozenset()
            ours = Row("", {} if own is None else {column.id: own}, ours=True, partial=partial)
            more = None if own is None or paper is None else own - paper
            pooled = cell.pooled.get(column.metric) if len(cell.sets) > 1 else None
            lines.append(
                {
                    "cell": column.label,
                    "metric": column.metric.upper(),
                    "here": _cell(table, ours, column),
                    "mean of all images": "" if pooled is None else f"{pooled:.{_DIGITS[column.metric]}f}",
                    theirs.method: _cell(table, theirs, column),
                    "difference": "" if more is None else f"{more:+.{_DIGITS[column.metric]}f}",
                }
            )
    return lines


def difference_row(ours: Row, against: Row) -> Row:
    """Return the differences of one row to another, where both have a value."""
    both = {key: value - against.cells[key] for key, value in ours.cells.items() if key in against.cells}
    return Row(f"{ours.method} minus {against.method}", both, ours=True, partial=ours.partial)


def narrowed(table: PaperTable, metrics: Sequence[str]) -> PaperTable:
    """
    Return the table with the columns of some metrics only; with all columns where none is named.

    Raises:
        UsageError: the table has no such metric.
    """
    known = list(dict.fromkeys(column.metric for column in table.columns))
    for metric in metrics:
        if metric not in known:
            raise UsageError(f"table {table.number} has no {metric!r}: {nearest(metric, known)}")
    columns = tuple(column for column in table.columns if not metrics or column.metric in metrics)
    return PaperTable(table.number, table.title, table.doubts, table.doubtful, columns, table.rows)


def header(table: PaperTable) -> list[str]:
    """Return the headings of the columns, the method first."""
    return ["method", *(f"{column.label}, {column.metric.upper()}" for column in table.columns)]


def lines(table: PaperTable, rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of rows as text, the method first; "" where there is no value."""
    return [[row.method, *(_cell(table, row, column) for column in table.columns)] for row in rows]


def to_markdown(table: PaperTable, rows: Sequence[Row]) -> str:
    """Return the table as Markdown, the user's own rows in bold."""
    parts = [f"Table {table.number}. {table.title}", "", _piped(header(table))]
    parts.append(_piped(["---"] + ["---:"] * len(table.columns)))
    for row, cells in zip(rows, lines(table, rows), strict=True):
        parts.append(_piped([f"**{cell}**" if row.ours and cell else cell for cell in cells]))
    return "\n".join([*parts, "", *(f"- {note}" for note in legend(table, rows))]).rstrip() + "\n"


def to_latex(table: PaperTable, rows: Sequence[Row]) -> str:
    """Return the table as a LaTeX tabular; it needs no package."""
    parts = [f"% Table {table.number}. {table.title}", r"\begin{tabular}{l" + "r" * len(table.columns) + "}", r"\hline"]
    parts += [" & ".join(map(_escaped, header(table))) + r" \\", r"\hline"]
    parts += [" & ".join(map(_escaped, cells)) + r" \\" for cells in lines(table, rows)]
    return "\n".join([*parts, r"\hline", r"\end{tabular}", *(f"% {note}" for note in legend(table, rows))]) + "\n"


def to_html(table: PaperTable, rows: Sequence[Row]) -> str:
    """Return the table as HTML."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in header(table))
    body = []
    for row, cells in zip(rows, lines(table, rows), strict=True):
        kind = ' class="ours"' if row.ours else ""
        body.append(f"<tr{kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    doubts = "".join(f"<li>{html.escape(note)}</li>" for note in legend(table, rows))
    caption = f"<caption>Table {table.number}. {html.escape(table.title)}</caption>"
    noted = f"<ul>{doubts}</ul>\n" if doubts else ""
    return (
        f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + f"\n</tbody></table>\n{noted}"
    )


def legend(table: PaperTable, rows: Sequence[Row]) -> list[str]:
    """Return explanations of the marks that the cells have, and the doubts in words."""
    marked = any(doubt.holds(row, column) for row in rows for column in table.columns for doubt in table.doubtful)
    notes = ["? is doubtful: see below."] if marked and table.doubts else []
    if any(row.partial for row in rows):
        notes.append("* is over fewer images or test sets than the paper's.")
    return [*notes, *table.doubts]


def _cell(table: PaperTable, row: Row, column: Column) -> str:
    value = row.cells.get(column.id)
    if value is None:
        return ""
    sign = "+" if " minus " in row.method and row.ours else ""
    doubtful = "?" if any(doubt.holds(row, column) for doubt in table.doubtful) else ""
    partial = "*" if column.id in row.partial else ""
    return f"{value:{sign}.{_DIGITS[column.metric]}f}{doubtful}{partial}"


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text
