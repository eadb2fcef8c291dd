"""
The data side: from published sources to shards, and from shards to samples.

The names below are the public ones. They are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uirdata.degradations import Degradation, Recipe, degradations, degrade, sample_recipe
    from uirdata.errors import UirError
    from uirdata.pipeline.opening import open_shards
    from uirdata.records import Record
    from uirdata.sources import Source, load_sources
    from uirdata.storage.reading import ShardDataset, ShardItem
    from uirdata.subsets import Subset, load_subset

_WHERE = {
    "Degradation": "uirdata.degradations",
    "Recipe": "uirdata.degradations",
    "Record": "uirdata.records",
    "ShardDataset": "uirdata.storage.reading",
    "ShardItem": "uirdata.storage.reading",
    "Source": "uirdata.sources",
    "Subset": "uirdata.subsets",
    "UirError": "uirdata.errors",
    "degradations": "uirdata.degradations",
    "degrade": "uirdata.degradations",
    "load_sources": "uirdata.sources",
    "load_subset": "uirdata.subsets",
    "open_shards": "uirdata.pipeline.opening",
    "sample_recipe": "uirdata.degradations",
}

__all__ = [
    "Degradation",
    "Recipe",
    "Record",
    "ShardDataset",
    "ShardItem",
    "Source",
    "Subset",
    "UirError",
    "degradations",
    "degrade",
    "load_sources",
    "load_subset",
    "open_shards",
    "sample_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'uirdata' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
