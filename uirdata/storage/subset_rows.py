"""The rows of a manifest that belong to a subset."""

from __future__ import annotations

import pyarrow.compute as pc

from uirdata.errors import UsageError
from uirdata.subsets import Subset


def in_subset(subset: Subset) -> pc.Expression:
    """
    Return the filter of a manifest that keeps a subset's samples.

    Raises:
        UsageError: the subset has no sources.
    """
    wanted: pc.Expression | None = None
    for use in subset.uses:
        one = (
            (pc.field("source") == use.source)
            & (pc.field("degradation") == use.degradation)
            & (pc.field("split") == use.split)
        )
        if use.levels:
            one &= pc.field("level").isin(list(use.levels))
        wanted = one if wanted is None else wanted | one
    if wanted is None:
        raise UsageError(f"the subset {subset.name} has no sources")
    return wanted
