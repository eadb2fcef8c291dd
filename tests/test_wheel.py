from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent


def build(folder: Path, how: str) -> Path:
    """Build a wheel of this tree as pip does, and return the folder of its unpacked contents outside the tree."""
    command = [sys.executable, "-c", f"import hatchling.build as backend; backend.{how}({str(folder)!r})"]
    subprocess.run(command, cwd=TREE, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel, and packages named `cli` and `manifests` of another distribution."""
    site = build(tmp_path_factory.mktemp("wheel"), "build_wheel")
    for name in ("cli", "manifests"):
        assert not (site / name).exists()
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("raise ImportError('this is the package of another distribution')\n")
    return site


def run(installed: Path, folder: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    # -P: the current folder is not searched, as for an installed command.
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uir(*arguments: str) -> str:
    return f"import sys; sys.argv[1:] = {list(arguments)!r}; from uir_cli.uir import main; main()"


def test_an_installed_wheel_finds_its_manifests_and_fetches_the_sample(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "import uirdata.sources as s; print(s.MANIFESTS)").strip()
    assert Path(where) == installed / "uirdata" / "manifests"
    listed = json.loads(run(installed, tmp_path, uir("sources", "--json")))
    assert {"gopro", "sample", "lsdir"} <= {source["id"] for source in listed}
    (outcome,) = json.loads(run(installed, tmp_path, uir("fetch", "--subset", "sample", "--json", "-q")))
    assert (outcome["state"], outcome["pairs"]) == ("done", 12)


def test_the_wheel_holds_the_packages_and_the_facts_and_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top - {"cli", "manifests"} == {"uirdata", "maskdcpt", "uir_cli"}
    assert (installed / "uirdata/manifests/subsets.toml").is_file()
    assert not list(installed.rglob("__pycache__"))
    assert (installed / "uirdata/py.typed").is_file()
    (metadata,) = installed.glob("*.dist-info/METADATA")
    requires = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    assert not any("torch" in line and "extra ==" not in line for line in requires)


def test_both_programs_start_in_a_folder_that_has_a_cli_of_its_own(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "__init__.py").write_text("raise ImportError('this is the folder of another project')\n")
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    for program in ("uir", "maskdcpt"):
        # Without -P: the current folder is searched first, as for everything that is started with -m.
        command = [sys.executable, "-m", f"uir_cli.{program}", "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"Usage: {program}" in done.stdout


def test_an_editable_install_runs_the_command_line_of_the_checkout(tmp_path: Path) -> None:
    site = build(tmp_path, "build_editable")
    top = {path.name for path in site.iterdir() if not path.name.endswith((".dist-info", ".pth"))}
    assert top == {"uir_cli"}
    where = run(site, tmp_path, "import uir_cli.uir as m; print(m.__file__)").strip()
    assert Path(where) == TREE / "cli" / "uir.py"
