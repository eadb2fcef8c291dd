"""
Golden digests of the bytes of every level.

If one changes, the bytes of an operation have changed: increase its `revision`, and write the file again with
`python -m tests.uirdata.degradations.test_golden`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.uirdata.degradations.synthetic_images import scene
from uirdata.degradations import DEGRADATIONS, degrade, sample_recipe
from uirdata.images import pixel_sha256
from uirdata.seeding import rng_for

GOLDEN = Path(__file__).parents[2] / "golden" / "degradations.json"
ROOT = Path(__file__).parents[3]


def digests(name: str) -> dict[str, str]:
    gt = scene()
    return {
        level.name: pixel_sha256(degrade(gt, sample_recipe(name, rng_for(7, level.name, name), level.name)))
        for level in DEGRADATIONS[name].levels
    }


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_every_level_gives_the_pinned_bytes(name):
    assert digests(name) == json.loads(GOLDEN.read_text())[name]


def test_another_process_with_another_number_of_threads_gives_the_same_bytes():
    program = (
        "import json, sys, cv2\n"
        "cv2.setNumThreads(1)\n"
        "from tests.uirdata.degradations.test_golden import digests, DEGRADATIONS\n"
        "json.dump({name: digests(name) for name in DEGRADATIONS}, sys.stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(GOLDEN.read_text())


def test_importing_and_degrading_leave_the_global_generators_and_the_thread_count_alone():
    program = (
        "import cv2, numpy as np\n"
        "threads = cv2.getNumThreads()\n"
        "np.random.seed(1)\n"
        "before = np.random.get_state()[1].tobytes()\n"
        "from tests.uirdata.degradations.test_golden import digests\n"
        "for name in ('noise', 'motion-blur', 'snow', 'raindrop'): digests(name)\n"
        "assert np.random.get_state()[1].tobytes() == before\n"
        "assert cv2.getNumThreads() == threads\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_large_image_does_not_depend_on_the_number_of_threads():
    gt = np.tile(scene(), (6, 5, 1))
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            results.append(
                [pixel_sha256(degrade(gt, sample_recipe(name, rng_for(0, name, "threads")))) for name in DEGRADATIONS]
            )
    finally:
        cv2.setNumThreads(threads)
    assert results[0] == results[1]


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: digests(name) for name in DEGRADATIONS}, indent=1) + "\n")
