"""What a fetch is to get: published sources by id or subset, or the user's own folder."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uirdata.errors import UsageError
from uirdata.facts.own_sources import check_degradation
from uirdata.layout import Layout
from uirdata.pipeline.choosing import all_sources, chosen_sources
from uirdata.pipeline.fetching.own_folder import add_local_source
from uirdata.pipeline.fetching.plan import plan_fetch
from uirdata.pipeline.fetching.plan_values import FetchPlan
from uirdata.subsets import Subset


@dataclass(frozen=True)
class OwnFolder:
    """
    The description of the user's own folder.

    >>> import uirdata
    >>> own = uirdata.OwnFolder(test_share=0.5, licence="CC0")
    >>> uirdata.fetch("mine", from_dir=photos, own=own, root=root).is_complete
    True

    Attributes:
        degradation: degradation of its LQ images: one of the nineteen types; "" for clean images.
        lq: folder of its LQ images, below it.
        gt: folder of its GT images, below it.
        test_share: share of its scenes for the test split; when None, that of an earlier fetch, else 0.
        licence: licence of its images.
        patterns: pattern of its LQ and pattern of its GT, once for each way in which its files pair; see
            `uirdata.manifest_syntax.patterns`.
        clean: its images are clean photographs, whatever their names say.
    """

    degradation: str = ""
    lq: str = ""
    gt: str = ""
    test_share: float | None = None
    licence: str = "unknown"
    patterns: Sequence[tuple[str, str]] = ()
    clean: bool = False

    @property
    def is_described(self) -> bool:
        """Whether any field is set that only such a folder needs."""
        return bool(self.lq or self.gt or self.degradation or self.test_share or self.patterns or self.clean)


def is_own_folder(
    layout: Layout, ids: Sequence[str], subset: str | Subset | None = None, from_dir: Path | None = None
) -> bool:
    """Whether a fetch adds the user's own folder: one id that is not a published source, and a folder."""
    if from_dir is None or len(ids) != 1 or subset is not None:
        return False
    known = all_sources(layout)
    return ids[0] not in known or known[ids[0]].local_dir is not None


def plan_wanted(
    layout: Layout,
    ids: Sequence[str] = (),
    subset: str | Subset | None = None,
    *,
    from_dir: Path | None = None,
    own: OwnFolder | None = None,
    alternative: str = "",
    fetch_missing: bool = False,
) -> FetchPlan:
    """
    Return the plan of a fetch. For the user's own folder its manifest is written; otherwise nothing is written.

    Args:
        layout: the folders of the root.
        ids: ids of sources; or one new id, for the folder `from_dir`.
        subset: a subset whose sources are fetched, too.
        from_dir: a folder of files that the user has.
        own: the description of the user's own folder.
        alternative: name of the file set to use where a source has it.
        fetch_missing: download what is not in `from_dir`.

    Raises:
        UsageError: neither ids nor a subset is given, one is unknown, or the folder cannot be a source.
        StorageError: the manifest cannot be written.
    """
    if own is not None:
        check_degradation(own.degradation)
    if not ids and subset is None:
        raise UsageError("nothing to fetch: give IDs, or --subset NAME; `uir sources` lists the sources")
    about = own or OwnFolder()
    if is_own_folder(layout, ids, subset, from_dir):
        assert from_dir is not None
        if not about.is_described:
            _refuse_misspelt(layout, ids[0])
        source = add_local_source(
            ids[0],
            from_dir,
            layout,
            lq=about.lq,
            gt=about.gt,
            degradation=about.degradation,
            test_share=about.test_share,
            licence=about.licence,
            patterns=about.patterns,
            clean=about.clean,
        )
        return plan_fetch([source], layout, alternative=alternative)
    if about.is_described:
        raise UsageError(
            "--lq, --gt, --pair, --clean, --degradation and --test-share describe your own folder: they need ID --from "
            "DIR, with an ID that no source has"
        )
    return plan_fetch(
        chosen_sources(layout, ids, subset),
        layout,
        from_dir=from_dir,
        alternative=alternative,
        fetch_missing=fetch_missing,
        known=all_sources(layout),
    )


def _refuse_misspelt(layout: Layout, name: str) -> None:
    """Refuse a new id that is almost that of a published source, whose files would become the user's photographs."""
    known = all_sources(layout)
    if name in known or name.startswith("my-"):
        return
    published = [other for other in known if known[other].local_dir is None]
    if similar := difflib.get_close_matches(name, published, n=1, cutoff=0.8):
        raise UsageError(
            f"there is no source {name!r}: did you mean {similar[0]!r}? For a folder of your own, choose an id that is "
            f"less like it, such as my-{name}"
        )
