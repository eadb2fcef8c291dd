"""The page of restored images: each before and after, with a slider."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from maskdcpt.pages.slider import SLIDER_STYLE, slider
from maskdcpt.restoring.files import Restored
from maskdcpt.restoring.image_files import ImageFile, Pixels
from uirdata.decoding import to_eight_bits
from uirdata.html_pages import html_table, write_page


class RestoredPage:
    """
    A page that is filled while images are restored, so that only one of them is in memory.

    Args:
        target: of the page.
        checkpoint: for the heading.
    """

    def __init__(self, target: Path, checkpoint: str) -> None:
        self._target = target
        self._checkpoint = checkpoint
        self._parts: list[str] = []

    def add(self, result: Restored, before: ImageFile, after: Pixels) -> None:
        """Add an image."""
        seen = f", classified as {result.degradation}" if result.degradation else ""
        title = f"{result.source.name}: {result.width} x {result.height}{seen}"
        self._parts.append(f"<h2>{html.escape(title)}</h2>{slider(to_eight_bits(before.pixels), to_eight_bits(after))}")

    def write(self, results: Sequence[Restored]) -> None:
        """
        Write the page, with the files that could not be restored at its end.

        Raises:
            StorageError: it cannot be written.
        """
        body = [SLIDER_STYLE, f"<p>Restored by {html.escape(self._checkpoint)}. Drag the handle.</p>", *self._parts]
        bad = [{"image": str(result.source), "why not": result.problem} for result in results if result.problem]
        if bad:
            body.append(f"<h2>Not restored</h2>{html_table(bad)}")
        write_page(self._target, "Restored images", body)
