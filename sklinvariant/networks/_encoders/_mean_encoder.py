"""The encoder with any module: the mean of its features over a bag."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklinvariant._distributed import own_number
from sklinvariant._docstrings import documented_by
from sklinvariant._settings import borrowed_generators, draw_seed
from sklinvariant.networks._encoders._bags import BagEncoder, Bags, EqualBags, Units
from sklinvariant.ops import standardize


@documented_by(BagEncoder)
class MeanEncoder(nn.Module):
    r"""The encoder of `LearnedAggregation`: the mean of any module T over the descriptors of each bag.

    For the m descriptors f of a bag,

    .. math:: R = \frac{1}{m} \sum_n T(f_n)

    T is computed in chunks, which the backward pass computes again.

    Parameters
    ----------
    transform : torch.nn.Module
        The module T, which maps standardised descriptors (rows, d) to features (rows, D).
    chunk_size : int or None, default=None
        Number of descriptors processed at a time, which bounds the memory. None is 16384.

    Attributes
    ----------
    generator : torch.Generator or None
        Seeds torch's global generators for the random numbers that T draws during training. None seeds them with 0.
    """

    generator: torch.Generator | None = None

    def __init__(
        self,
        transform: nn.Module,
        units: Units,
        dtype: torch.dtype,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.units, self.dtype = units, dtype
        self.chunk_size = chunk_size or 1 << 14

    def export(self) -> dict[str, Any]:
        """The parameters and buffers of T.

        Returns
        -------
        dict of "encoder", a dict of arrays by name
        """
        return {"encoder": {name: value.cpu().numpy() for name, value in self.transform.state_dict().items()}}

    @documented_by(BagEncoder.prepare)
    def prepare(self, bags: Bags, device: str | torch.device) -> Bags:
        """The standardised bags on the device, ready for every pass over them.

        Returns
        -------
        Bags of standardised descriptors
        """
        values = standardize(bags.values.to(device), self.units.shift, self.units.scale, self.dtype)
        return Bags(values, bags.offsets)

    def forward(self, bags: Bags | EqualBags) -> torch.Tensor:
        """The means of T over each bag.

        Parameters
        ----------
        bags : Bags or EqualBags
            The result of `prepare`, or `EqualBags` in their own units.

        Returns
        -------
        tensor of shape (n, D)
        """
        if isinstance(bags, EqualBags):
            return self._mean_of_equal(bags.values)
        values, offsets = bags
        n = len(offsets) - 1
        ids = torch.repeat_interleave(
            torch.arange(n, device=values.device), torch.as_tensor(np.diff(offsets), device=values.device)
        )
        total = None
        for start in range(0, len(values), self.chunk_size):
            x = values[start : start + self.chunk_size].to(self.dtype)
            seed = draw_seed(self.generator if self.training else None) + own_number()
            # preserve_rng_state would read the global generator; the repeated forward pass uses the same seed instead
            out = checkpoint(self._transform, x, seed, use_reentrant=False, preserve_rng_state=False)
            total = out.new_zeros(n, out.shape[1]) if total is None else total
            total = total.index_add(0, ids[start : start + self.chunk_size], out)
        if total is None:
            out = self._transform(torch.zeros(1, values.shape[1], dtype=self.dtype, device=values.device), 0)
            total = out.new_zeros(n, out.shape[1])
        return total / bags.counts(total)

    def _mean_of_equal(self, values):
        rows = (values - torch.as_tensor(self.units.shift).to(values)) / self.units.scale
        return self.transform(rows.flatten(0, 1)).unflatten(0, values.shape[:2]).mean(1)

    def _transform(self, x, seed):
        with borrowed_generators(seed, x.device):
            return self.transform(x)
