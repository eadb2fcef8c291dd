"""A before/after slider for self-contained pages: two images on top of each other and a handle between them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

from PIL import Image

from uirdata.images import RgbImage

SLIDER_STYLE = """<style>
.slider{position:relative;display:inline-block;max-width:100%;line-height:0;touch-action:pan-y}
.slider img{display:block;max-width:100%;height:auto}
.slider .over{position:absolute;inset:0;overflow:hidden;clip-path:inset(0 0 0 var(--at,50%))}
.slider .line{position:absolute;top:0;bottom:0;left:var(--at,50%);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 4px #000;pointer-events:none}
.slider input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize}
.slider input:focus-visible+.line{outline:2px solid var(--bar,#1b6ca8)}
.slider span{position:absolute;bottom:6px;padding:2px 8px;background:#000a;color:#fff;pointer-events:none;
font:13px/1.4 system-ui,sans-serif;border-radius:3px}
.slider .left{left:6px}.slider .right{right:6px}
figure.shown{margin:0 0 20px}
</style>
<script>
document.addEventListener("input",function(event){
var box=event.target.closest(".slider");
if(box){box.style.setProperty("--at",event.target.value+"%")}})
</script>"""
"""Needed once on each page that has sliders. Without scripts the handle stays in the middle."""

_LEAST_PX = 300


def slider(
    before: RgbImage, after: RgbImage, *, labels: Sequence[str] = ("before", "after"), most_px: int = 1200
) -> str:
    """
    Return the HTML of two images of one size with a handle to drag, or to move with the arrow keys.

    Args:
        before: (H, W, 3) RGB, visible left of the handle.
        after: the same size, visible right of it.
        labels: names of the two images.
        most_px: larger images are resized to this longer side, so that a page of many photographs can be opened.

    Raises:
        ValueError: the sizes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"a slider needs images of one size, not {before.shape} and {after.shape}")
    left, right = (html.escape(label) for label in labels)
    # Small images are enlarged, so that pixels are visible.
    factor = max(1, _LEAST_PX // max(before.shape[:2]))
    before, after = (image.repeat(factor, axis=0).repeat(factor, axis=1) for image in (before, after))
    return (
        f'<div class="slider"><img alt="{left}" src="{image_uri(before, most_px)}">'
        f'<div class="over"><img alt="{right}" src="{image_uri(after, most_px)}"></div>'
        f'<input type="range" min="0" max="100" value="50" step="0.5" aria-label="{left} or {right}">'
        f'<div class="line"></div><span class="left">{left}</span><span class="right">{right}</span></div>'
    )


def image_uri(image: RgbImage, most_px: int = 1200) -> str:
    """Return a data URI of an image, resized to `most_px` where it is larger, as WebP without visible loss."""
    shown = Image.fromarray(image)
    longer = max(shown.size)
    if longer > most_px:
        width, height = (max(1, round(side * most_px / longer)) for side in shown.size)
        shown = shown.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Small images are viewed pixel by pixel, so they are stored without loss.
    shown.save(buffer, "WEBP", quality=92, method=2, lossless=longer <= 400, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
