"""Bags of descriptors, the units in which their encoders compute, and the base of the encoders.

Parameters refer to standardised data, ``(x - shift) / scale``, so that one learning rate works for descriptors of
magnitude 1e-12 and 1e12. ``export`` returns them in the original units of the data.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sklinvariant._docstrings import documented_by
from sklinvariant.ops import Scores, equal_moments, soft_moments, take_rows


class Bags(NamedTuple):
    """The input of every encoder: the descriptors of n bags, one bag after the other.

    Parameters
    ----------
    values : tensor of shape (N, d)
        The descriptors of all bags.
    offsets : numpy array of shape (n + 1,)
        Start of each bag: bag i has the descriptors ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: torch.Tensor
    offsets: np.ndarray

    @documented_by(soft_moments)
    def moments(self, scores: Scores, order: int, chunk_size: int | None) -> tuple[torch.Tensor, ...]:
        """The sums of soft assignments over each bag, as from `sklinvariant.ops.soft_moments`.

        Returns
        -------
        tuple of ``order + 1`` tensors of shape (n, k), (n, k, d) and (n, k, d)
        """
        return soft_moments(self.values, self.offsets, scores, order=order, chunk_size=chunk_size)

    @documented_by(take_rows)
    def counts(self, like: torch.Tensor, floor: int = 1) -> torch.Tensor:
        """Number of descriptors of each bag.

        Parameters
        ----------
        floor : int, default=1
            Smallest result, which an empty bag gets.

        Returns
        -------
        tensor of shape (n, 1)
        """
        sizes = np.maximum(np.diff(self.offsets), floor)
        return torch.as_tensor(sizes, dtype=like.dtype, device=like.device)[:, None]


@documented_by(equal_moments)
class EqualBags(NamedTuple):
    """Bags of equal size, of which plain tensor operations compute everything at once.

    For modules that are compiled or exported.

    Parameters
    ----------
    values : tensor of shape (n, m, d)
        The m descriptors of each bag.
    """

    values: torch.Tensor
    hard: bool = False

    @documented_by(Bags.moments)
    def moments(self, scores: Scores, order: int, chunk_size: int | None = None) -> tuple[torch.Tensor, ...]:
        """The sums of soft assignments over each bag, as from `sklinvariant.ops.equal_moments`.

        Parameters
        ----------
        chunk_size : int or None, default=None
            Ignored: all descriptors are processed at once.

        Returns
        -------
        tuple of tensors
            As many as ``order + 1``, of shape (n, k), (n, k, d) and (n, k, d).
        """
        return equal_moments(self.values, scores, order, hard=self.hard)

    @documented_by(Bags.counts)
    def counts(self, like: torch.Tensor, floor: int = 1) -> torch.Tensor:
        """Number of descriptors of each bag, which is never 0.

        Parameters
        ----------
        floor : int, default=1
            Ignored: no bag is empty.

        Returns
        -------
        tensor of shape (1, 1)
        """
        return like.new_full((1, 1), self.values.shape[1])


class Units(NamedTuple):
    """The location and the spread of the data, by which descriptors x become ``(x - shift) / scale``.

    Parameters
    ----------
    shift : numpy array of shape (d,)
        The location, such as the mean of the descriptors.
    scale : float
        The spread, one number for all features.
    """

    shift: np.ndarray
    scale: float


class BagEncoder(nn.Module):
    """Base of the encoders: the units and the chunk size.

    Parameters
    ----------
    units : Units
        Location and spread of the descriptors. Parameters are learned in these units.
    dtype : torch.dtype
        Precision of the parameters and of the result.
    chunk_size : int or None
        Number of descriptors processed at a time, which bounds the memory. None chooses a chunk that fits into the
        cache.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, units: Units, dtype: torch.dtype, chunk_size: int | None = None) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(np.asarray(units.shift), dtype=dtype))
        self.register_buffer("scale", torch.as_tensor(units.scale, dtype=dtype))
        self.double_scale = float(units.scale)
        self.chunk_size = chunk_size

    def prepare(self, bags: Bags, device: str | torch.device) -> Bags:
        """The bags as ``forward`` expects them: unchanged, because it loads them chunk by chunk.

        Parameters
        ----------
        bags : Bags
            The bags.
        device : str or torch.device
            Device of the encoder.

        Returns
        -------
        Bags
        """
        return bags

    def inward(self, x: np.ndarray) -> torch.Tensor:
        """Convert from the units of the data to standardised units.

        The difference is computed in double precision, and the result has the precision of the parameters.

        Parameters
        ----------
        x : array of shape (k, d)
            Codewords in the units of the data.

        Returns
        -------
        tensor of shape (k, d)
        """
        values = torch.tensor(np.asarray(x, dtype=np.float64))  # copied, because it may be mapped from a file
        return ((values - self.shift.double().cpu()) / self.double_scale).to(self.shift.dtype)

    def outward(self, x: torch.Tensor) -> np.ndarray:
        """Convert from standardised units to the units of the data, as `inward` does.

        Parameters
        ----------
        x : tensor of shape (k, d)
            Codewords in standardised units.

        Returns
        -------
        array of shape (k, d)
        """
        x = x.detach().double() * self.double_scale + self.shift.double()
        return x.to(self.shift.dtype).cpu().numpy()
