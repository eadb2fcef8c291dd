"""
Time and memory of restoring an image, compared with the memory limit, and the difference of tiles from the whole.

    python benchmarks/restoring.py PICTURE --checkpoint FILE --memory 1e9
    python benchmarks/restoring.py PICTURE --checkpoint FILE --tile 512 --whole

Memory is the resident size of the process, read every 20 ms, minus its size after a small image.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path

import numpy as np

from maskdcpt.compute.devices import resident_bytes
from maskdcpt.restoring.image_files import decode_image_file
from maskdcpt.restoring.restorer import Restorer


def main() -> None:
    """Parse the command line, restore, and print a line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("picture", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--memory", type=float, help="bytes")
    parser.add_argument("--tile", type=int)
    parser.add_argument("--whole", action="store_true", help="compare with the image restored whole")
    arguments = parser.parse_args()
    picture = decode_image_file(arguments.picture.read_bytes(), str(arguments.picture))
    memory = None if arguments.memory is None else int(arguments.memory)
    restorer = Restorer(arguments.checkpoint, device="cpu", memory=memory, tile_px=arguments.tile)
    height, width = picture.pixels.shape[:2]
    tile = restorer.tile_for(height, width)
    restorer.restore(np.asarray(picture.pixels[:64, :64], dtype=np.uint8).copy())
    before = resident_bytes()
    watch = Watch()
    start = time.perf_counter()
    restored = restorer.restore_image_file(picture)
    seconds = time.perf_counter() - start
    print(
        f"{height} x {width}, {f'tiles of {tile}' if tile else 'whole'}: {seconds:.1f} s, "
        f"{(watch.stop() - before) / 1e6:,.0f} MB more"
        + (f" of {memory / 1e6:,.0f} allowed" if memory is not None else "")
    )
    if arguments.whole:
        whole = Restorer(arguments.checkpoint, device="cpu", tile_px=0).restore_image_file(picture)
        difference = np.abs(restored.astype(int) - whole.astype(int))
        print(
            f"grey levels from the whole: mean {difference.mean():.3f}, 99.9 % below "
            f"{np.percentile(difference, 99.9):.0f}, largest {difference.max()}"
        )


class Watch:
    """The largest resident size since its creation."""

    def __init__(self) -> None:
        self._largest = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Return it in bytes, and stop watching."""
        self._stopped.set()
        self._thread.join()
        return self._largest

    def _look(self) -> None:
        while not self._stopped.wait(0.02):
            self._largest = max(self._largest, resident_bytes())


if __name__ == "__main__":
    main()
