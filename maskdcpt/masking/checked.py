"""A backend that somebody else's code computes: compared with a reference before its first use on a device."""

from __future__ import annotations

import torch

from maskdcpt.masking.auto import TOLERANCE, difference, try_backend
from maskdcpt.masking.patches import PatchMask, random_patch_mask
from maskdcpt.masking.sites import Backend, BackendError, Sites


class CheckedBackend:
    """
    Refuses with the reason where it cannot run or gives wrong numbers; asks once per device.

    A subclass has a `name` and says with `missing` what it lacks.

    Args:
        reference: what it must agree with.
        unchecked: the backend itself.
        patch: side of the patches of the mask that it is tried on, in pixels of a 32 x 32 image.
        advice: what to do where it is refused.
    """

    name: str

    def __init__(self, reference: Backend, unchecked: Backend, *, patch: int, advice: str) -> None:
        self.reference = reference
        self._unchecked = unchecked
        self._patch = patch
        self._advice = advice
        self._faults: dict[torch.device, str] = {}

    def missing(self, device: torch.device) -> str:
        """Say what is not there that it needs on this device, as a message; empty when all is."""
        del device
        return ""

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """
        Give one set of sites per stride.

        Raises:
            BackendError: something that it needs is missing, it cannot run here, or it gives wrong numbers.
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
        except Exception as error:  # a foreign library, a compiler, a driver: whatever they raise, it cannot be used
            return f"{self.name} does not run on {device} ({type(error).__name__}: {error}): {self._advice}"
        worst = difference(found, expected)
        if not worst <= TOLERANCE:
            return f"{self.name} gives wrong numbers on {device} (off by {worst:.1e}): {self._advice}"
        return ""
