"""A backend computed by third-party code: compared with a reference before its first use on a device."""

from __future__ import annotations

import torch

from maskdcpt.masking.auto import TOLERANCE, difference, try_backend
from maskdcpt.masking.patches import PatchMask, random_patch_mask
from maskdcpt.masking.sites import Backend, BackendError, Sites


class CheckedBackend:
    """
    A backend that raises an error with the reason where it cannot run or gives wrong results; checked once per device.

    A subclass has a `name`, and returns from `missing` what is not installed.

    Args:
        reference: the backend that it must agree with.
        unchecked: the backend itself.
        patch: side of the patches of the mask that it is checked on, in pixels of a 32 x 32 image.
        advice: what to do when it cannot be used; the end of the error message.
    """

    name: str

    def __init__(self, reference: Backend, unchecked: Backend, *, patch: int, advice: str) -> None:
        self.reference = reference
        self._unchecked = unchecked
        self._patch = patch
        self._advice = advice
        self._faults: dict[torch.device, str] = {}

    def missing(self, device: torch.device) -> str:
        """Return a message that says what it needs on this device and does not find; "" when nothing is missing."""
        del device
        return ""

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """
        Return one set of sites per stride.

        Raises:
            BackendError: something that it needs is missing, it cannot run here, or it gives wrong results.
        """
        device = mask.visible.device
        if device not in self._faults:
            self._faults[device] = self.missing(device) or self._fault(device)
        if self._faults[device]:
            raise BackendError(self._faults[device])
        return self._unchecked.stages(mask, height, width, count)

    def _fault(self, device: torch.device) -> str:
        mask = random_patch_mask(2, 32, 32, self._patch, 0.5, torch.Generator().manual_seed(0)).to(device)
        expected, _ = try_backend(self.reference, mask, 32, 32)
        try:
            found, _ = try_backend(self._unchecked, mask, 32, 32)
        except Exception as error:  # a third-party library, a compiler, a driver: any error means it cannot be used
            return f"{self.name} does not run on {device} ({type(error).__name__}: {error}): {self._advice}"
        worst = difference(found, expected)
        if not worst <= TOLERANCE:
            return f"{self.name} gives wrong results on {device} (largest relative error {worst:.1e}): {self._advice}"
        return ""
