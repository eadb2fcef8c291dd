"""The pages: every relative link resolves, and every file of the repository that a page names exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
TOP = ("benchmarks", "cli", "docs", "manifests", "maskdcpt", "tests", "uirdata")
# No `git ls-files`: CI runs the tests in a copy without a repository.
PAGES = sorted([*TREE.glob("*.md"), *(page for folder in TOP for page in (TREE / folder).rglob("*.md"))])
MODULE = re.compile(r"(?:from|python -m) ((?:benchmarks|maskdcpt|tests|uirdata)(?:\.\w+)+)")
SCRIPT = re.compile(r"python ((?:benchmarks|tests)/[\w/]+\.py)")


def name(page: Path) -> str:
    return page.relative_to(TREE).as_posix()


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def homes(page: Path) -> list[Path]:
    """Where the paths of a page may begin: at the top, in the page's folder, and for pages in docs/ in the packages."""
    packages = [TREE / "maskdcpt", TREE / "uirdata", TREE / "uirdata/degradations"]
    return [TREE, *(packages if page.is_relative_to(TREE / "docs") else [page.parent])]


def below(folder: Path) -> list[Path]:
    """A package's folder and all in it; for the folder of any other page, all folders of the repository."""
    tops = [folder] if name(folder).split("/")[0] in ("maskdcpt", "uirdata") else [TREE / top for top in TOP]
    return [TREE, *(each for top in tops for each in (top, *top.rglob("*/")))]


def named_files(page: Path) -> Iterator[tuple[str, list[Path]]]:
    """
    What in backticks looks like a file or folder of the repository: a glob pattern, and the folders to look in.

    Paths with a slash count when they end in .py or begin with a folder that exists. Names without one count when they
    end in .py: such a file is below the page's folder or, in a table's row about a folder, below that folder. `my_...`
    is an example, and <name> matches any name.
    """
    for line in prose(page).splitlines():
        room = re.match(r"\| `([\w/]+/)`", line)
        for word in (word for words in re.findall(r"`([^`]+)`", line) for word in words.split()):
            pattern = re.sub(r"<\w+>", "*", word).rstrip("/")
            if not re.fullmatch(r"\.?[\w*-][\w.*/-]*", pattern) or "my_" in word:
                continue
            first = pattern.split("/")[0]
            if "/" not in word:
                if word.endswith(".py"):
                    yield pattern, below(page.parent / room[1] if room else page.parent)
            elif word.endswith(".py") or any((home / first).is_dir() for home in homes(page)):
                yield pattern, homes(page)


def test_there_are_pages() -> None:
    assert {"README.md", "maskdcpt/README.md", "docs/design/rooms.md"} <= {name(page) for page in PAGES}
    assert "maskdcpt/README.md" in links(TREE / "README.md")
    assert "maskdcpt/metrics/pyiqa_metrics.py" in dict(named_files(TREE / "README.md"))
    assert {"training", "loop.py"} <= dict(named_files(TREE / "maskdcpt/README.md")).keys()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_resolves(page: Path) -> None:
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = named_files(page)
    assert [what for what, places in named if not any(next(place.glob(what), None) for place in places)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_module_and_script_of_an_example_exists(page: Path) -> None:
    files = [*SCRIPT.findall(text_of(page)), *(f"{m.replace('.', '/')}.py" for m in MODULE.findall(text_of(page)))]
    assert [file for file in files if not (TREE / file).is_file() and not (TREE / file[:-3]).is_dir()] == []


def test_the_layers_of_the_page_on_rooms_are_the_import_contracts() -> None:
    contracts = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = [line for contract in contracts if contract["type"] == "layers" for line in contract["layers"]]
    page = (TREE / "docs/design/rooms.md").read_text(encoding="utf-8")
    assert len(layers) > 25
    drawn = {cell.strip() for line in page.splitlines() for cell in re.split(r"\s{2,}|->", line)}
    assert [line for line in layers if line not in drawn] == []
