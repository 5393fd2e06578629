"""Comparison of queries with all codes on another device than the CPU, such as a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sklinvariant.ops import BitPlanes, bit_planes, nearest_codes

_MOST_BLOCKS = 16  # after so many additions the codes are copied again as one block, which is searched faster


@dataclass(frozen=True)
class DeviceCodes:
    """Codes that were copied to a device, to search them there.

    ``source`` are the codes in the memory of the host. It is held, so that its memory is not used for other codes.
    """

    source: np.ndarray
    device: torch.device
    blocks: tuple[BitPlanes, ...]

    @classmethod
    def of(cls, codes: np.ndarray, device: torch.device, before: DeviceCodes | None = None) -> DeviceCodes:
        """The codes on a device. Only those are copied that are not at the start of the codes ``before``."""
        if before is None or not before._starts(codes, device):
            return cls(codes, device, (bit_planes(codes, device),))
        n = len(before.source)
        if n == len(codes):
            return before
        if len(before.blocks) == _MOST_BLOCKS:
            return cls(codes, device, (bit_planes(codes, device),))
        return cls(codes, device, (*before.blocks, bit_planes(codes[n:], device)))

    def neighbors(
        self, queries: np.ndarray, k: int, removed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distances (q, k) int32 and rows (q, k) int64 of the k nearest codes; the lower row wins a tie.

        ``removed`` (n,) masks codes to leave out; at least k must remain.
        """
        mask = None if removed is None else torch.from_numpy(np.array(removed)).to(self.device)
        distances, rows = nearest_codes(self.blocks, bit_planes(queries, self.device), k, mask)
        return distances.cpu().numpy(), rows.cpu().numpy()

    def _starts(self, codes, device):
        """Whether the codes, whose memory is not written again, start with those of this object."""
        return (
            self.device == device
            and len(self.source) <= len(codes)
            and self.source.ctypes.data == codes.ctypes.data
            and self.source.strides == codes.strides
        )
