"""The base of BagOfWords, VLAD and FisherVector, which learn a vocabulary at once, from a stream, or in parts."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any, Self

import torch

from sklinvariant._compat import fit_context, reports_fit
from sklinvariant.accumulate import sample_descriptors, step_size
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._codebook import Sample, draw_sample
from sklinvariant.base import Count, Maybe, Whole, declared, is_stream, torch_generator


@declared
class VocabularyAggregator(Aggregator):
    """Base of the aggregations with a vocabulary. A subclass implements ``_learn`` and ``_step``.

    Parameters
    ----------
    subsample : int or None
        Maximum number of descriptors from which `fit`, and each call of `partial_fit`, learns; None uses all.
    """

    _fits_streams = True
    _layout = {"n_seen": Maybe(Whole(0))}
    _: KW_ONLY
    subsample: Count | None = 200_000

    def _continued_entries(self) -> tuple[str, ...]:
        """Entries of the state that a later `partial_fit` needs; models of earlier versions lack them."""
        return ("n_seen",)

    def _learn(self, sample: Sample, generator: torch.Generator, n_samples: int) -> tuple[dict[str, Any], int]:
        """The learned state, and the number of iterations."""
        raise NotImplementedError

    def _step(self, sample: Sample, step: float) -> dict[str, Any]:
        """The learned state after a step towards a sample of more descriptors."""
        raise NotImplementedError

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the vocabulary from the descriptors of all bags.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d), (n, n_features), or iterable of these
            Bags of local descriptors. An iterable, such as a generator, is read once, one block of bags at a time; a
            random sample of ``subsample`` descriptors is kept.

        Raises
        ------
        ValueError
            If a bag is not numeric or contains NaN or infinity (the message names the bag), if all bags are empty, or
            if there are fewer descriptors than codewords or components.
        """
        if is_stream(X):
            return self._fit(sample_descriptors(self._read_blocks(X), self.subsample, self.random_state))
        return self._fit(self._read(X, reset=True))

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more bags. The first call is a `fit`, and the later ones change the vocabulary in smaller steps.

        The mean statistics of the vocabulary move by a share of :math:`(n / N)^{0.7}` towards those of the n
        descriptors of X, where N is their number so far. The result depends on the order of the bags: shuffle them, and
        pass at least 10 descriptors for each codeword or component in the first call. A vocabulary that was passed as a
        parameter is kept.

        Raises
        ------
        ValueError
            If a bag is not numeric or contains NaN or infinity (the message names the bag), if all bags are empty, if
            the first call has fewer descriptors than codewords or components, if their number has changed since, or if
            the model was saved by an earlier version.
        """
        if not hasattr(self, "_state"):
            return self._fit(self._read(X, reset=True))
        given, name = self._read(X), type(self).__name__
        if any(self._state.get(entry) is None for entry in self._continued_entries()):
            raise ValueError(f"this {name} was saved by an earlier version, which cannot continue. Fit a clone")
        if len(given.data.values) == 0:
            return self
        generator = torch_generator(self.random_state)
        sample = draw_sample(given.data, self.subsample, generator, given.device, given.dtype, units=self._units)
        n_seen, n = self._state["n_seen"], sample.blocks.shape[0]
        self._keep(sample, given.kind.name, **self._step(sample, step_size(n_seen, n)), n_seen=n_seen + n)
        return self

    def _fit(self, given):
        generator = torch_generator(self.random_state)
        sample = draw_sample(given.data, self.subsample, generator, given.device, given.dtype)
        learned, n_iter = self._learn(sample, generator, len(given.data))
        self._keep(sample, given.kind.name, **learned, n_seen=sample.blocks.shape[0])
        self.n_iter_ = max(n_iter, 1)
        return self

    def _check_unchanged(self, name, fitted):
        """Raise a ValueError if the number of codewords or components is not that of the fitted vocabulary."""
        number = getattr(self, name)
        if fitted != number:
            raise ValueError(f"{name}={number} differs from {fitted} in the previous fit. Set it back, or fit a clone")
