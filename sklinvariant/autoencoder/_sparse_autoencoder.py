"""The sparse autoencoder, whose features are rarely active (Ng 2011, "Sparse autoencoder").

Sukhbaatar et al. 2013, section 3, pool such features: 400 units on 16 × 16 patches, 100 units on 6 × 6 patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Self

import torch
from sklearn.base import TransformerMixin

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant.accumulate import accumulate
from sklinvariant.autoencoder._sparse_network import EncodedRows, SparseAutoencoderNetwork
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
)
from sklinvariant.ops import chunk_rows, concatenated, in_safe_unit
from sklinvariant.training import RowBatches, TrainedEstimator, WithOptimizer

_ACTIVATIONS = OutputReader("activations")
_LBFGS_STEPS = 20  # iterations per epoch; the estimate of the curvature is kept between epochs


@dataclass
class _Rows:
    """Rows (n, d) of X divided by ``unit``."""

    rows: torch.Tensor
    unit: float


@torch.no_grad()
def reconstruction_error(network: SparseAutoencoderNetwork, rows: torch.Tensor, at_once: int = 8192) -> float:
    """Mean squared error of the reconstructed values."""
    total = accumulate(lambda x, _: (network.decode(network.encode(x)) - x).square().sum(), rows.split(at_once))
    return float(total) / rows.numel()


@declared
class SparseAutoencoder(
    OnDevice, WithOptimizer, TrainedEstimator, RowFeaturesOutMixin, TransformerMixin, TorchEstimator
):
    r"""Autoencoder with one hidden layer, of whose features only a few are active at a time.

    With the sigmoid σ, the features h of a row x and its reconstruction are

    .. math:: h = \sigma(x W^T + b), \qquad \hat x = h V + c

    (or the sigmoid of this, with ``decoder="sigmoid"``). The estimator minimises

    .. math:: \frac{1}{2n} \sum_{i=1}^n \lVert \hat x_i - x_i \rVert^2 +
        \frac{\alpha}{2} (\lVert W \rVert^2 + \lVert V \rVert^2) + \beta \sum_j \mathrm{KL}(\rho \parallel \hat\rho_j)

    where :math:`\hat\rho_j` is the mean of feature j over the n rows of a batch. X is divided by the square root of the
    mean variance of its features, so that the best α and β do not depend on its units.

    Parameters
    ----------
    n_components : int
        Number of hidden units k, which may be larger than the number of features.
    sparsity : float
        ρ, the target of the mean activation of each unit, between 0 and 1. Lower values make units more selective.
    sparsity_weight : float
        β, the weight of the sparsity term; 0 is a plain autoencoder.
    weight_decay : float
        α. If it is too small, units stay in the linear range of σ, and filters look like noise. Higher values give
        fewer, smoother and more local filters, and very high values give none. More features allow higher values.
    tied_weights : bool
        Whether the decoder uses the weights of the encoder, V = W, which halves the number of parameters.
    decoder : {"linear", "sigmoid"}
        "linear" is for any rows, such as whitened ones; "sigmoid" is for rows in 0-1.
    max_epochs : int
        Maximum number of passes over the rows; with ``optimizer="lbfgs"`` an epoch is 20 iterations.
    batch_size : int
        Number of rows in a training step. They give the mean activations, so use at least some tens. "lbfgs" uses all
        rows.
    learning_rate : float
        Initial step size; "lbfgs" determines its own.
    optimizer : {"adam", "sgd", "lbfgs"} or torch.optim.Optimizer class
        Optimizer; "sgd" uses a momentum of 0.9. "lbfgs" uses all rows in each step, as in Ng's notes. It reaches a
        lower loss for a few thousand rows, for which an epoch has few steps. For tens of thousands of rows, Adam
        reaches the same loss sooner.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        Encoding weights W, for the original units of X. Those of patches can be displayed as images:
        ``components_.reshape(-1, h, w, c)``.
    intercept_ : array of shape (n_components,)
        Biases b.
    decoder_components_ : array of shape (n_components, n_features)
        Decoding weights V. With tied weights they are W times the squared unit of X.
    decoder_intercept_ : array of shape (n_features,)
        Biases c.
    reconstruction_error_ : float
        Mean squared reconstruction error of the values of the last fit.

    Notes
    -----
    Rows are not preprocessed. For patches, subtract the mean and normalise the contrast first. Whitening makes the
    features localised. `ConvolutionalFeatures` does all of this.

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

    components_ = FittedState("Encoding weights, (n_components, n_features).")
    intercept_ = FittedState("Biases of the units, (n_components,).")
    decoder_components_ = FittedState("Decoding weights, (n_components, n_features).")
    decoder_intercept_ = FittedState("Biases of the reconstruction, (n_features,).")

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the features.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Rows; in 0-1 with ``decoder="sigmoid"``.

        Raises
        ------
        ValueError
            If X contains NaN, infinite values, or values outside 0-1 with ``decoder="sigmoid"``, or if
            ``warm_start=True`` but the previous fit had another number of units.
        """
        self._train(X)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train for one pass over a part of the rows."""
        self._train(X, partial=True)
        return self

    def transform(self, X: Any) -> Any:
        """The features of rows: the activations of the hidden units.

        Returns
        -------
        array of shape (n, n_components)
            Values in 0-1, with the array type, device and precision of X.
        """
        given = self._read(X)
        return given.answer(self._for_blocks(given, lambda network, rows: network.encode(rows)))

    def inverse_transform(self, X: Any) -> Any:
        """Reconstruct rows from their features.

        Parameters
        ----------
        X : array of shape (n, n_components)
            Activations.

        Returns
        -------
        array of shape (n, n_features)
        """
        given = _ACTIVATIONS.read(self, X)
        return given.answer(self._for_blocks(given, lambda network, h: network.decode(h)))

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: EncodedRows(self._network(torch.empty(0, dtype=dtype)))}

    @torch.no_grad()
    def _for_blocks(self, given, function):
        """``function(network, block)`` of blocks of rows."""
        at_once = chunk_rows(max(self._n_features_out, self.n_features_in_), given.dtype, given.device)
        blocks = (block.to(given.device, given.dtype) for block in given.data.split(at_once))
        network = self._network(torch.empty(0, device=given.device, dtype=given.dtype))
        return concatenated((function(network, block) for block in blocks), len(given.data))

    def _data(self, given, y, generator, *, reset):
        rows = given.tensor()
        if self.decoder == "sigmoid" and (rows.min() < 0 or rows.max() > 1):
            raise ValueError(
                'decoder="sigmoid" requires values in 0-1, but X has others. Scale X, or use decoder="linear"'
            )
        if not reset and self._n_features_out != self.n_components:
            raise ValueError(
                f"n_components={self.n_components} does not match the {self._n_features_out} units of the last fit. "
                "Set warm_start=False, or fit a clone"
            )
        # squares must not overflow; a sigmoid decoder reconstructs values in 0-1 and needs no unit
        return _Rows(rows, 1.0) if self.decoder == "sigmoid" else _Rows(*in_safe_unit(rows))

    def _identity(self, data):
        return {"samples": [data.rows]}

    def _module(self, data, generator):
        check_size(self.n_components * data.rows.shape[1], n_components=self.n_components)
        return SparseAutoencoderNetwork.start(
            data.rows, self.n_components, generator, tied=self.tied_weights, **self._loss_settings()
        )

    def _restored(self, data, generator):
        return self._network(data.rows, data.unit)

    def _batches(self, data, generator):
        batch_size = len(data.rows) if self.optimizer == "lbfgs" else self.batch_size
        return RowBatches(data.rows, batch_size=batch_size, generator=generator)

    def _make_optimizer(self, parameters, lr):
        if self.optimizer != "lbfgs":
            return super()._make_optimizer(parameters, lr)
        # the line search determines the step size
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
        """The fitted network for rows divided by ``unit``, on the device and in the precision of the rows ``like``."""
        spread = self._state["spread"]
        size = 1.0 if self.decoder == "sigmoid" else spread
        units = {"components": 1 / spread, "intercept": 1.0, "decoder_intercept": size, "decoder_components": size}
        weights = [x / size for x, size in zip(self._fitted_tensors(like, *units), units.values(), strict=True)]
        return SparseAutoencoderNetwork(
            *weights[: 3 if self.tied_weights else 4], spread=spread / unit, **self._loss_settings()
        )

    def _loss_settings(self):
        return {
            "sigmoid_decoder": self.decoder == "sigmoid",
            "sparsity": self.sparsity,
            "sparsity_weight": self.sparsity_weight,
            "weight_decay": self.weight_decay,
        }

    @property
    def _n_features_out(self):
        return len(self._state["intercept"])
