"""Hashes from a restricted Boltzmann machine whose bits are all used equally (Morère et al. 2016, section 4.2)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant.base import (
    Array,
    Count,
    FittedState,
    NonNegative,
    Positive,
    Share,
    ShareBelowOne,
    Text,
    check_computed,
    check_size,
    declared,
    integers,
    keeps_state_on_failure,
    torch_generator,
)
from sklinvariant.hashing._hasher import Hasher
from sklinvariant.hashing._rbm import (
    RestrictedBoltzmannMachine,
    free_energy,
    log_odds,
    pseudo_log_likelihood,
    start_weights,
)
from sklinvariant.training import RowBatches, TrainedEstimator


@dataclass
class _Visible:
    """Rows (n, d) as the machine sees them, and what took them there."""

    v: torch.Tensor
    scaling: dict


@declared
class RBMHasher(TrainedEstimator, Hasher):
    """A code of bits that are on equally often and do not depend on each other: the hidden units of an RBM.

    The machine models the rows, ``P(z_j|x) = σ(w_j·x + b_j)`` and ``P(x_i|z) = σ(w_i·z + c_i)`` (equations 5 and 6),
    by contrastive divergence, while each batch pulls the activations towards targets that are uniform in 0-1, over
    the bits of each code and over the batch for each bit (equations 7 and 8). A bit is whether P(z_j|x) > 0.5.

    Parameters
    ----------
    n_bits : int
        Length of the code; any number, more than features too.
    regularization : float
        λ of equation 8: 0 is the plain machine, 1 follows the targets alone where data pull. Larger uses bits more
        equally and models the rows less.
    visible : {"scaled", "binary", "gaussian"}
        What rows are scaled to, which is fitted and part of the model. "scaled": each feature to 0-1, by its smallest
        and largest value, as probabilities (what leaves 0-1 later is cut). "binary": X is in 0-1 itself, and states
        are drawn. "gaussian": each feature to mean 0 and variance 1, with units of variance 1.
    cd_steps : int
        Gibbs steps of contrastive divergence, at most 1000; more are slower and nearer to the likelihood.
    persistent : bool
        Go on with the last batch's states instead of starting from the data, as scikit-learn's BernoulliRBM does. Each
        call of `fit` or `partial_fit` starts them anew.
    sparsity : float or None
        Nair and Hinton's regulariser, a rival of the batch's: the mean activation that each bit is pulled to.
    sparsity_weight : float
        How strongly.
    learning_rate : float
        Step of descent.
    momentum : float
        What a step keeps of the one before.
    weight_decay : float
        Pull of weights towards 0.
    batch_size : int
        Rows a step, at most: batches are equally large. The targets are ranks within a batch: below some tens they are
        coarse.
    max_epochs : int
        Passes over the rows.
    random_state : int, RandomState or None
        Seeds weights, order and states.

    Attributes
    ----------
    components_ : array of shape (n_bits, n_features)
        Weights, of scaled features.
    intercept_hidden_ : array of shape (n_bits,)
        Biases b of the bits.
    intercept_visible_ : array of shape (n_features,)
        Biases c of the features.
    shift_, scale_ : arrays of shape (n_features,)
        Rows are scaled as ``(x - shift_) / scale_``.
    history_ : list of dict
        Epoch, loss (mean squared error of the reconstruction of a scaled value) and seconds of each epoch.
    n_iter_ : int
        Epochs made.

    Notes
    -----
    There is no ``optimizer``: the gradient of contrastive divergence is not that of a loss, and the machine makes its
    own steps, with momentum.

    Equation 8 stands in the paper with λ h(B) inside the logarithm and a sign that would drive activations away from
    their targets; here the objective is ``-Σ log P(x) - λ h(B)``, of which the gradient is that of the machine with
    ``z - λ (z - t)`` in the place of the activations z of the data. The paper does not say how targets are chosen:
    here they are ranks, first of each bit over the batch, then of each code over its bits.

    References
    ----------
    Morère, Lin, Veillard, Chandrasekhar, Poggio (2016). Nested Invariance Pooling and RBM Hashing for Image Instance
    Retrieval. Equations 5-8.
    Nair, Hinton (2009). 3D object recognition with deep belief nets. (Sparsity.)

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import RBMHasher
    >>> X = np.random.default_rng(0).random((200, 12))
    >>> codes = RBMHasher(n_bits=16, random_state=0).fit_transform(X)
    >>> codes.shape, codes.dtype
    ((200, 16), dtype('uint8'))
    >>> bool(abs(codes.mean() - 0.5) < 0.05)
    True
    """

    _layout = {
        "shift": Array("n_features_in_"),
        "scale": Array("n_features_in_"),
        "components": Array("n_bits", "n_features_in_"),
        "intercept_hidden": Array("n_bits"),
        "intercept_visible": Array("n_features_in_"),
        "visible": Text(),
    }
    n_bits: Count = 64
    _: KW_ONLY
    regularization: NonNegative = 0.5
    visible: Literal["scaled", "binary", "gaussian"] = "scaled"
    cd_steps: Annotated[int, integers(1, 1000)] = 1  # all within one training step
    persistent: bool = False
    sparsity: Share | None = None
    sparsity_weight: NonNegative = 0.1
    learning_rate: Positive = 0.05
    momentum: ShareBelowOne = 0.9
    weight_decay: NonNegative = 0.0002
    batch_size: Count = 100
    max_epochs: Count = 20
    learning_rate_decay: Literal["cosine"] | None = None

    components_ = FittedState("(n_bits, n_features) weights")
    intercept_hidden_ = FittedState("(n_bits,) biases of the bits")
    intercept_visible_ = FittedState("(n_features,) biases of the features")
    shift_ = FittedState("(n_features,) what is subtracted from rows")
    scale_ = FittedState("(n_features,) what rows are divided by then")

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the machine.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Features; in 0-1 with ``visible="binary"``.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For NaN, infinite values, values outside 0-1 with ``visible="binary"``, and another ``n_bits`` or
            ``visible`` than that of a machine that is to go on.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        self._train(X)
        return self

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """One pass over a part of the rows; the first call fits the scaling, which then stays.

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

    def activations(self, X):
        """P(z = 1 | x) of each bit, equation 5.

        Parameters
        ----------
        X : array of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_bits)
        """
        given = self._read(X)
        return given.answer(self._scores(given.tensor()).sigmoid_())

    def score_samples(self, X):
        """Pseudo-likelihood of each row: the sum over features of ``log P(x_i | the rest)``.

        scikit-learn's BernoulliRBM draws one feature a row and multiplies by their number, which is the same in the
        mean. Rows in 0-1 are taken as probabilities. Gaussian units have no such sum: there it is the logarithm of
        the likelihood up to the constant that no one can compute.

        Parameters
        ----------
        X : array of shape (n, n_features)

        Returns
        -------
        array of shape (n,)
        """
        given = self._read(X)
        v = self._visible(given.tensor(), self._state)
        if self._state["visible"] == "gaussian":
            weight, hidden, visible = self._parameters_on(v)
            return given.answer(-free_energy(v, weight, hidden, visible, gaussian=True))
        return given.answer(pseudo_log_likelihood(v, *self._parameters_on(v)))

    def gibbs(self, X):
        """One step of Gibbs sampling: bits drawn for the rows, then rows drawn for the bits.

        Parameters
        ----------
        X : array of shape (n, n_features)

        Returns
        -------
        array of shape (n, n_features)
            In the units of X; of real-valued features the means.
        """
        given = self._read(X)
        v = self._visible(given.tensor(), self._state)
        generator = torch.Generator(v.device).manual_seed(torch_generator(self.random_state).initial_seed())
        options = {**self._machine_options(generator), "visible": self._state["visible"]}
        machine = RestrictedBoltzmannMachine(*self._parameters_on(v), **options)
        with torch.no_grad():
            drawn = machine.gibbs(v)
        shift, scale = (torch.as_tensor(self._state[key]).to(v) for key in ("shift", "scale"))
        return given.answer(drawn * scale + shift)

    def _data(self, given, y, generator, *, reset):
        rows = given.tensor()
        scaling = self._scaling(rows) if reset else self._scaling_so_far()
        return _Visible(self._visible(rows, scaling), scaling)

    def _identity(self, data):
        return {"samples": [data.v]}

    def _module(self, data, generator):
        v, mean = data.v, data.v.mean(0)
        check_size(self.n_bits * v.shape[1], n_bits=self.n_bits)
        states = torch.Generator(v.device).manual_seed(generator.initial_seed())
        weight = start_weights(self.n_bits, v.shape[1], generator, torch.float64).to(v)
        visible = mean if self.visible == "gaussian" else log_odds(mean)
        parameters = weight, weight.new_zeros(self.n_bits), visible
        return RestrictedBoltzmannMachine(*parameters, **self._machine_options(states))

    def _restored(self, data, generator):
        states = torch.Generator(data.v.device).manual_seed(generator.initial_seed())
        return RestrictedBoltzmannMachine(*self._parameters_on(data.v), **self._machine_options(states))

    def _batches(self, data, generator):
        return RowBatches(data.v, batch_size=self.batch_size, generator=generator)

    def _make_optimizer(self, parameters, lr):
        return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum)

    def _export(self, machine, data):
        learned = {
            "components": machine.weight,
            "intercept_hidden": machine.hidden_bias,
            "intercept_visible": machine.visible_bias,
        }
        return {**data.scaling, **{key: value.detach().cpu().numpy().copy() for key, value in learned.items()}}

    def _machine_options(self, generator):
        return {
            "visible": self.visible,
            "cd_steps": self.cd_steps,
            "persistent": self.persistent,
            "regularization": self.regularization,
            "sparsity": self.sparsity,
            "sparsity_weight": self.sparsity_weight,
            "weight_decay": self.weight_decay,
            "generator": generator,
        }

    def _scaling_so_far(self):
        for name in ("n_bits", "visible"):
            if getattr(self, name) != self._state[name]:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not that of the machine that is to go on, which has "
                    f"{self._state[name]!r}: fit a new one, without warm_start"
                )
        return {key: self._state[key] for key in ("shift", "scale", "n_bits", "visible")}

    def _scaling(self, rows):
        """What takes features to the range of the visible units; a constant feature becomes 0."""
        if self.visible == "gaussian":
            wide = rows.double()
            shift, scale = wide.mean(0), wide.std(0, correction=0)
        else:
            low, high = rows.amin(0).double(), rows.amax(0).double()
            shift, scale = low, high - low
        if self.visible == "binary":
            shift, scale = torch.zeros_like(low), torch.ones_like(low)
        scale = torch.where(scale > 0, scale, 1.0)
        return {
            "shift": shift.cpu().numpy(),
            "scale": scale.cpu().numpy(),
            "n_bits": self.n_bits,
            "visible": self.visible,
        }

    def _visible(self, rows, state):
        """Rows as the machine sees them."""
        shift, scale = (torch.as_tensor(state[key], device=rows.device) for key in ("shift", "scale"))
        if state["visible"] == "binary":
            if rows.min() < 0 or rows.max() > 1:
                raise ValueError('visible="binary" needs values in 0-1; use visible="scaled" for others')
            return rows
        v = ((rows - shift) / scale).to(rows.dtype)  # in float64: rows may be alike in all but the last digits
        return v if state["visible"] == "gaussian" else v.clamp_(0, 1)

    def _parameters_on(self, v):
        names = ("components", "intercept_hidden", "intercept_visible")
        return tuple(torch.as_tensor(np.asarray(self._state[name])).to(v) for name in names)

    def _scores(self, rows):
        v = self._visible(rows, self._state)
        weight, hidden, _ = self._parameters_on(v)
        return check_computed(self, torch.addmm(hidden, v, weight.T))
