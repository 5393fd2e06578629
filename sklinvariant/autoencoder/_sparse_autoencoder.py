"""Features of which few are on at a time and from which the input can be rebuilt (Ng 2011, "Sparse autoencoder").

The features under auto-pooling (Sukhbaatar et al. 2013, section 3): 400 units on 16 × 16 patches, 100 on 6 × 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import numpy as np
import torch
from sklearn.base import TransformerMixin

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant.autoencoder._sparse_network import SparseAutoencoderNetwork
from sklinvariant.base import (
    Array,
    Count,
    FittedState,
    NonNegative,
    OnDevice,
    OutputReader,
    Positive,
    RealNumber,
    RowFeaturesOutMixin,
    ShareInside,
    TorchEstimator,
    check_size,
    declared,
    keeps_state_on_failure,
)
from sklinvariant.ops import in_safe_unit
from sklinvariant.training import RowBatches, TrainedEstimator, WithOptimizer

_ACTIVATIONS = OutputReader("activations")
_LBFGS_STEPS = 20  # of one epoch; between epochs it remembers the curvature it has seen


@dataclass
class _Rows:
    """Rows (n, d) of X over a unit."""

    rows: torch.Tensor
    unit: float


@torch.no_grad()
def reconstruction_error(network, rows, at_once=8192):
    """Mean squared error of a rebuilt value."""
    errors = [(network.decode(network.encode(x)) - x).square().sum() for x in rows.split(at_once)]
    return float(torch.stack(errors).sum()) / rows.numel()


@declared
class SparseAutoencoder(
    OnDevice, WithOptimizer, TrainedEstimator, RowFeaturesOutMixin, TransformerMixin, TorchEstimator
):
    """Features of which few are on at a time, and from which the rows can be rebuilt: one hidden layer.

    ``h = σ(x Wᵀ + b)`` are the features and ``x̂ = h V + c`` the reconstruction (σ of that with
    ``decoder="sigmoid"``). Minimised is ``½ mean ‖x̂ - x‖² + ½ α (‖W‖² + ‖V‖²) + β Σ_j KL(ρ ‖ ρ̂_j)`` where ρ̂_j is the
    mean of feature j over the rows of a step, and X is measured in the root of the mean variance of its features, so
    that the same α and β do for the same X in other units.

    Parameters
    ----------
    n_components : int
        Hidden units k; may be more than features.
    sparsity : float
        ρ, the mean activation that each unit is held to, between 0 and 1. Smaller makes units more selective.
    sparsity_weight : float
        β, how strongly; 0 is a plain autoencoder.
    weight_decay : float
        α. Too small, and units stay in the linear middle of σ, where filters look like noise; larger makes
        fewer, smoother and more local ones; much larger leaves none. More features bear more.
    tied_weights : bool
        Decode with the weights of the encoder, V = W: half the parameters.
    decoder : {"linear", "sigmoid"}
        "linear" rebuilds any rows, whitened ones for instance; "sigmoid" those in 0-1.
    max_epochs : int
        Most passes over the rows; with ``optimizer="lbfgs"`` each is 20 of its iterations.
    batch_size : int
        Rows a step. ρ̂ is estimated from them: below some tens it is coarse. "lbfgs" takes all rows.
    learning_rate : float
        Step size at the start; "lbfgs" finds its own.
    optimizer : {"adam", "sgd", "lbfgs"} or torch.optim.Optimizer class
        "sgd" has momentum 0.9. "lbfgs" (on all rows at once, as in the notes) finds lower costs on some thousand rows,
        where an epoch has few steps; on many thousand Adam is sooner as low.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        Encoding weights W, for X in its own units. Those of patches are images: ``components_.reshape(-1, h, w, c)``.
    intercept_ : array of shape (n_components,)
        Biases b.
    decoder_components_ : array of shape (n_components, n_features)
        Decoding weights V; W with tied weights, up to the unit of X squared.
    decoder_intercept_ : array of shape (n_features,)
        Biases c.
    reconstruction_error_ : float
        Mean squared error of a rebuilt value of the rows of the last fit.
    history_ : list of dict
        Epoch, mean loss and seconds of each epoch.
    n_iter_ : int
        Epochs made.

    Notes
    -----
    Rows are taken as they are. Patches want their mean taken away and their contrast made even, and features come out
    localised after whitening, as `ConvolutionalFeatures` does it.

    References
    ----------
    Ng (2011). Sparse autoencoder. CS294A lecture notes, Stanford.
    Sukhbaatar, Makino, Aihara (2013). Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences. Section 3.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.autoencoder import SparseAutoencoder
    >>> X = load_digits().data / 16
    >>> model = SparseAutoencoder(32, optimizer="lbfgs", max_epochs=5, random_state=0).fit(X)
    >>> Z = model.transform(X)
    >>> Z.shape, bool(Z.mean() < 0.1)
    ((1797, 32), True)
    >>> bool(((model.inverse_transform(Z) - X) ** 2).mean() < X.var(axis=0).mean() / 2)
    True
    """

    _layout = {
        "components": Array("k", "n_features_in_"),
        "intercept": Array("k"),
        "decoder_components": Array("k", "n_features_in_"),
        "decoder_intercept": Array("n_features_in_"),
        "spread": RealNumber(),
    }
    n_components: Count = 100
    _: KW_ONLY
    sparsity: ShareInside = 0.05
    sparsity_weight: NonNegative = 10.0
    weight_decay: NonNegative = 0.03
    tied_weights: bool = False
    decoder: Literal["linear", "sigmoid"] = "linear"
    batch_size: Count = 256
    learning_rate: Positive = 0.02
    optimizer: Literal["adam", "sgd", "lbfgs"] | Callable = "adam"  # type: ignore[assignment]

    components_ = FittedState("(n_components, n_features) encoding weights")
    intercept_ = FittedState("(n_components,) biases of the units")
    decoder_components_ = FittedState("(n_components, n_features) decoding weights")
    decoder_intercept_ = FittedState("(n_features,) biases of the reconstruction")

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the features.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows; in 0-1 with ``decoder="sigmoid"``.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN, infinite values, values outside 0-1 with ``decoder="sigmoid"``, and where ``warm_start`` cannot go
            on from another number of units.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        self._train(X)
        return self

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """One pass over a part of the rows.

        Parameters
        ----------
        X : array of shape (n, n_features)
        y : None
            Ignored.

        Returns
        -------
        self
        """
        self._train(X, partial=True)
        return self

    def transform(self, X):
        """The features of rows: the activations of the hidden units.

        Parameters
        ----------
        X : array of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_components)
            In 0-1; in the kind of array, on the device and in the precision of X.
        """
        given = self._read(X)
        rows = given.tensor()
        with torch.no_grad():
            return given.answer(self._network(rows).encode(rows))

    def inverse_transform(self, X):
        """Rows rebuilt from their features.

        Parameters
        ----------
        X : array of shape (n, n_components)
            Activations.

        Returns
        -------
        array of shape (n, n_features)
        """
        given = _ACTIVATIONS.read(self, X)
        h = given.tensor()
        with torch.no_grad():
            return given.answer(self._network(h).decode(h))

    def _data(self, given, y, generator, *, reset):
        rows = given.tensor()
        if self.decoder == "sigmoid" and (rows.min() < 0 or rows.max() > 1):
            raise ValueError(
                'decoder="sigmoid" rebuilds values in 0-1, and X has others: scale it, or use decoder="linear"'
            )
        if not reset and self._n_features_out != self.n_components:
            raise ValueError(
                f"n_components={self.n_components} cannot go on from the {self._n_features_out} units learned before; "
                "set warm_start=False, or fit a clone"
            )
        # the loss is of squares; a sigmoid decoder rebuilds values in 0-1 as they are
        return _Rows(rows, 1.0) if self.decoder == "sigmoid" else _Rows(*in_safe_unit(rows))

    def _identity(self, data):
        return {"samples": [data.rows]}

    def _module(self, data, generator):
        check_size(self.n_components * data.rows.shape[1], n_components=self.n_components)
        return SparseAutoencoderNetwork.start(
            data.rows, self.n_components, generator, tied=self.tied_weights, **self._costs()
        )

    def _restored(self, data, generator):
        return self._network(data.rows, data.unit)

    def _batches(self, data, generator):
        batch_size = len(data.rows) if self.optimizer == "lbfgs" else self.batch_size
        return RowBatches(data.rows, batch_size=batch_size, generator=generator)

    def _make_optimizer(self, parameters, lr):
        if self.optimizer != "lbfgs":
            return super()._make_optimizer(parameters, lr)
        # its line search finds the step by itself
        return torch.optim.LBFGS(parameters, max_iter=_LBFGS_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def _decay(self):
        return None if self.optimizer == "lbfgs" else super()._decay()

    def _export(self, network, data):
        spread = network.spread * data.unit
        size = 1.0 if network.sigmoid_decoder else spread
        learned = {
            "components": network.weight / spread,
            "intercept": network.hidden_bias,
            "decoder_components": network.decoder_weight * size,
            "decoder_intercept": network.visible_bias * size,
        }
        return {**{key: value.detach().cpu().numpy().copy() for key, value in learned.items()}, "spread": spread}

    def _results(self, network, data):
        return {"reconstruction_error_": reconstruction_error(network, data.rows) * data.unit * data.unit}

    def _network(self, like, unit=1.0):
        """The fitted network, on the device and in the precision of rows, for rows divided by a unit."""
        spread = self._state["spread"]
        size = 1.0 if self.decoder == "sigmoid" else spread
        units = {"components": 1 / spread, "intercept": 1.0, "decoder_intercept": size, "decoder_components": size}
        weights = [torch.tensor(np.asarray(self._state[name])).to(like) / size for name, size in units.items()]
        return SparseAutoencoderNetwork(
            *weights[: 3 if self.tied_weights else 4], spread=spread / unit, **self._costs()
        )

    def _costs(self):
        return {
            "sigmoid_decoder": self.decoder == "sigmoid",
            "sparsity": self.sparsity,
            "sparsity_weight": self.sparsity_weight,
            "weight_decay": self.weight_decay,
        }

    @property
    def _n_features_out(self):
        return len(self._state["intercept"])
