"""The public names of both packages: a release that loses one breaks other people's programs."""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys

import pytest

NAMES = {
    "uirdata": {
        "Degradation", "OwnFolder", "Recipe", "Record", "ShardDataset", "ShardItem", "Source", "Subset", "UirError",
        "__version__", "build", "degradations", "degrade", "fetch", "load_sources", "load_subset", "open_shards",
        "plan", "push", "sample_recipe", "verify",
    },
    "maskdcpt": {
        "Batch", "Checkpoint", "EvalReport", "Networks", "ObjectiveConfig", "PatchMask", "Protocol", "Restorer",
        "TrainConfig", "__version__", "classifier_for", "create_backbone", "decoder_for", "evaluate", "find_preset",
        "load_backbone", "load_checkpoint", "pretraining_losses", "psnr", "random_patch_mask", "restore", "ssim",
        "train",
    },
}  # fmt: skip

PROMISED = {
    "uirdata": {
        "degradations", "load_sources", "load_subset", "degrade", "sample_recipe", "open_shards", "ShardDataset",
        "UirError", "fetch", "verify", "plan", "build", "push", "__version__",
    },
    "maskdcpt": {
        "create_backbone", "load_checkpoint", "random_patch_mask", "PatchMask", "pretraining_losses", "psnr", "ssim",
        "restore", "load_backbone", "TrainConfig", "find_preset", "Networks", "Batch", "ObjectiveConfig", "Restorer",
        "EvalReport", "__version__",
    },
}  # fmt: skip
"""What the documents call stable: never taken out of `NAMES`, whatever else changes there."""

EACH = [(package, name) for package, names in NAMES.items() for name in sorted(names)]


@pytest.mark.parametrize("package", NAMES)
def test_the_exported_names_are_these(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) == set(dir(module)) == NAMES[package]
    assert len(module.__all__) == len(NAMES[package])
    assert PROMISED[package] <= NAMES[package]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize(("package", "name"), [pair for pair in EACH if pair[1] != "__version__"])
def test_a_name_is_there_under_its_name_and_its_docstring_has_an_example(package: str, name: str) -> None:
    found = getattr(importlib.import_module(package), name)
    assert found.__name__.rpartition(".")[2] == name
    assert callable(found)
    assert ">>> " in found.__doc__


def test_degradations_is_called_the_same_before_and_after_its_package_is_imported() -> None:
    code = "import uirdata; a = uirdata.degradations(); b = uirdata.degradations(); assert a is b and len(a) == 19"
    subprocess.run([sys.executable, "-c", code], check=True)
    from uirdata import degradations

    assert len(degradations()) == 19


@pytest.mark.parametrize("package", NAMES)
def test_importing_a_package_imports_nothing_heavy(package: str) -> None:
    heavy = ("torch", "pyarrow", "cv2", "numpy", "pydantic", "datasets")
    code = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", NAMES)
def test_the_version_is_that_of_the_installed_release(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(package)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"universal-image-restoration": "1.2.3"}[name])
    assert module.__version__ == "1.2.3"

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert module.__version__ == "0+unknown"
