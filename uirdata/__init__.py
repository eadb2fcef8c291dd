"""
Image restoration data: from published sources to shards, and from shards to samples.

The names below are the public ones. Each is imported when it is first used, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uirdata.degradations import Degradation, Recipe, degradations, degrade, sample_recipe
    from uirdata.errors import UirError
    from uirdata.pipeline.fetching.wanted import OwnFolder
    from uirdata.pipeline.opening import open_shards
    from uirdata.pipeline.verbs import build, fetch, plan, push, verify
    from uirdata.records import Record
    from uirdata.sources import Source, load_sources
    from uirdata.storage.reading import ShardDataset, ShardItem
    from uirdata.subsets import Subset, load_subset

    __version__: str

_WHERE = {
    "Degradation": "uirdata.degradations",
    "OwnFolder": "uirdata.pipeline.fetching.wanted",
    "Recipe": "uirdata.degradations",
    "Record": "uirdata.records",
    "ShardDataset": "uirdata.storage.reading",
    "ShardItem": "uirdata.storage.reading",
    "Source": "uirdata.sources",
    "Subset": "uirdata.subsets",
    "UirError": "uirdata.errors",
    "build": "uirdata.pipeline.verbs",
    "degradations": "uirdata.degradations",
    "degrade": "uirdata.degradations",
    "fetch": "uirdata.pipeline.verbs",
    "load_sources": "uirdata.sources",
    "load_subset": "uirdata.subsets",
    "open_shards": "uirdata.pipeline.opening",
    "plan": "uirdata.pipeline.verbs",
    "push": "uirdata.pipeline.verbs",
    "sample_recipe": "uirdata.degradations",
    "verify": "uirdata.pipeline.verbs",
}

__all__ = [
    "Degradation",
    "OwnFolder",
    "Recipe",
    "Record",
    "ShardDataset",
    "ShardItem",
    "Source",
    "Subset",
    "UirError",
    "__version__",
    "build",
    "degradations",
    "degrade",
    "fetch",
    "load_sources",
    "load_subset",
    "open_shards",
    "plan",
    "push",
    "sample_recipe",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _WHERE:
        raise AttributeError(f"module 'uirdata' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__


def _version() -> str:
    """Return the version of the installed release; "0+unknown" in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("universal-image-restoration")
    except PackageNotFoundError:
        return "0+unknown"
