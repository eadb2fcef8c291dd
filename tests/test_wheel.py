from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, unpacked far from it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=TREE, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    # -P: the current folder is not searched, as for an installed command.
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uir(*arguments: str) -> str:
    return f"import sys; sys.argv[1:] = {list(arguments)!r}; from cli.uir import main; main()"


def test_an_installed_wheel_finds_its_manifests_and_brings_the_sample_home(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "import uirdata.sources as s; print(s.MANIFESTS)").strip()
    assert Path(where) == installed / "manifests"
    listed = json.loads(run(installed, tmp_path, uir("sources", "--json")))
    assert {"gopro", "sample", "lsdir"} <= {source["id"] for source in listed}
    (outcome,) = json.loads(run(installed, tmp_path, uir("fetch", "--subset", "sample", "--json", "-q")))
    assert (outcome["state"], outcome["pairs"]) == ("done", 12)


def test_the_wheel_holds_the_packages_and_the_facts_and_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"uirdata", "maskdcpt", "cli", "manifests"}
    assert (installed / "manifests/subsets.toml").is_file()
    assert (installed / "uirdata/py.typed").is_file()
    (metadata,) = installed.glob("*.dist-info/METADATA")
    requires = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    assert not any("torch" in line and "extra ==" not in line for line in requires)
