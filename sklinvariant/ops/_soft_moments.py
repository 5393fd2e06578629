"""Sums of softly assigned descriptors over each bag, computed in chunks without an N x k matrix.

All aggregations use one primitive. With φ(x) = x, or (x, x²) if the scores need a covariance,

    q_nk = softmax_k(φ(x_n) · W + b),   S0 = Σ_n q_nk,   S1 = Σ_n q_nk x_n,   S2 = Σ_n q_nk x_n²

gives the soft Bag of Words (S0), VLAD (S0, S1), Fisher vectors and the E-step of a mixture (S0, S1, S2). The backward
pass recomputes q chunk by chunk.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import one_hot

from sklinvariant._docstrings import documented_by
from sklinvariant._settings import in_own_precision
from sklinvariant.ops._chunks import bag_ids, chunk_rows, gather_bags, load_rows, split_bags
from sklinvariant.ops._kernels import KERNEL_DTYPES, has_kernel

_LEAST_ROWS = 4096  # in a chunk of `weighted_moments`


class Scores(NamedTuple):
    r"""Linear or quadratic functions of descriptors, whose softmax assigns a descriptor to k codewords.

    For descriptors ``z = (x - shift) / scale``, weights W and biases b, the scores are :math:`\phi(z) W + b`, where
    :math:`\phi(z)` is z, or z and its squares for quadratic functions.

    Parameters
    ----------
    weight : tensor of shape (d, k) or (2 d, k)
        Weights of z, or of z and its squares.
    bias : tensor of shape (k,)
        Biases.
    shift : tensor of shape (d,)
        What is subtracted from the descriptors.
    scale : tensor of shape ()
        What the shifted descriptors are divided by.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor


@documented_by(chunk_rows, gather_bags)
@in_own_precision
def soft_moments(
    values: torch.Tensor, offsets: np.ndarray, scores: Scores, order: int = 0, chunk_size: int | None = None
) -> tuple[torch.Tensor, ...]:
    r"""Sums of softly assigned descriptors over each bag, in chunks that bound the memory.

    With the softmax q of the scores over the codewords, and descriptors z that the scores have shifted and scaled, the
    sums over the descriptors n of a bag are

    .. math:: S^0_k = \sum_n q_{nk}, \qquad S^1_k = \sum_n q_{nk} z_n, \qquad S^2_k = \sum_n q_{nk} z_n^2

    Parameters
    ----------
    values : tensor of shape (N, d)
        Descriptors of all bags. They may have any dtype, be on any device or be mapped from a file, and are converted
        to the dtype and device of the computation chunk by chunk.
    scores : Scores
        Assign the descriptors to codewords.
    order : {0, 1, 2}, default=0
        Highest power of the descriptors whose sum is computed.

    Returns
    -------
    tuple of tensors of shape (n, k), (n, k, d) and (n, k, d)
        The first ``order + 1`` of these sums.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklinvariant.ops import Scores, soft_moments
    >>> scores = Scores(torch.zeros(1, 2), torch.zeros(2), torch.zeros(1), torch.tensor(1.0))
    >>> soft_moments(torch.ones(3, 1), np.array([0, 1, 3]), scores)  # each descriptor belongs to both codewords equally
    (tensor([[0.5000, 0.5000],
            [1.0000, 1.0000]]),)
    """
    if len(values) and values.dtype in KERNEL_DTYPES and has_kernel(*scores, dtypes=(torch.float32,)):
        from sklinvariant.ops.gpu._soft_moments import soft_moments as kernel

        return kernel(values, *scores, offsets, order)
    return _SoftMoments.apply(
        values, scores.weight, scores.bias, scores.shift, scores.scale, offsets, order, chunk_size
    )


@documented_by(soft_moments)
def equal_moments(x: torch.Tensor, scores: Scores, order: int = 0, *, hard: bool = False) -> tuple[torch.Tensor, ...]:
    """`soft_moments` of bags of equal size, by operations that can be compiled and exported.

    This keeps the assignments (n, m, k) in memory.

    Parameters
    ----------
    x : tensor of shape (n, m, d)
        Bags of m descriptors.
    hard : bool, default=False
        Whether a descriptor belongs only to the codeword with the highest score, instead of to all with weights.

    Returns
    -------
    tuple of ``order + 1`` tensors
        The sums of soft assignments (n, k), of descriptors (n, k, d) and of their squares (n, k, d).
    """
    d, (n_inputs, k) = x.shape[2], scores.weight.shape
    x = (x - scores.shift) / scores.scale
    phi = torch.cat([x, x * x], dim=2) if order == 2 or n_inputs == 2 * d else x
    logits = phi[..., :n_inputs] @ scores.weight + scores.bias
    q = one_hot(logits.argmax(2), k).to(x.dtype) if hard else logits.softmax(2)
    if order == 0:
        return (q.sum(1),)
    return (q.sum(1), *(q.mT @ phi[..., : order * d]).split(d, dim=2))


@in_own_precision
def weighted_moments(
    values: torch.Tensor, row_weights: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    r"""The sums of the E-step of a Gaussian mixture over weighted rows.

    With :math:`\phi(x)` the features of a row x and their squares, the scores of the components are
    :math:`s = \phi(x) W + b`, and q is their softmax. For row weights w, the sums are

    .. math:: \sum_n w_n q_n, \qquad \sum_n w_n q_n^T \phi(x_n), \qquad \sum_n w_n \log \sum_k \exp(s_{nk})

    Parameters
    ----------
    values : tensor of shape (n, d)
        Rows x.
    row_weights : tensor of shape (n,)
        Weights w.
    weight : tensor of shape (2 d, k)
        Weights W of the scores.
    bias : tensor of shape (k,)
        Biases b of the scores.

    Returns
    -------
    mass : tensor of shape (k,)
        First sum, the number of rows of each component.
    sums : tensor of shape (k, 2 d)
        Second sum.
    likelihood : tensor of shape ()
        Third sum, the log-likelihood.
    """
    if len(values) and has_kernel(values, row_weights, weight, bias, dtypes=(torch.float32,)):
        from sklinvariant.ops.gpu._soft_moments import weighted_moments as kernel

        return kernel(values, row_weights, weight, bias)
    mass, sums, likelihood = torch.zeros_like(bias), weight.new_zeros(weight.shape[::-1]), bias.new_zeros(())
    rows = max(_LEAST_ROWS, chunk_rows(sum(weight.shape), weight.dtype, weight.device))
    for x, w in zip(values.split(rows), row_weights.split(rows), strict=True):
        phi = torch.cat([x, x * x], dim=1)
        scores = torch.addmm(bias, phi, weight)
        log_norm = torch.logsumexp(scores, dim=1, keepdim=True)
        q = (scores - log_norm).exp_() * w[:, None]
        mass += q.sum(0)
        sums.addmm_(q.T, phi)
        likelihood += w @ log_norm[:, 0]
    return mass, sums, likelihood


class _SoftMoments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
        offsets: np.ndarray,
        order: int,
        chunk_size: int | None,
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(values, weight, bias, shift, scale)
        ctx.offsets, ctx.order, ctx.chunk_size = offsets, order, chunk_size
        n, (d, k) = len(offsets) - 1, (values.shape[1], weight.shape[1])
        mass = weight.new_zeros(n, k)
        sums = weight.new_zeros(n, k, order * d)
        buffer = _buffer(values, weight, k, chunk_size)
        for chunk, phi in _walk(values, offsets, weight, shift, scale, order, chunk_size):
            q = _softmax(phi, weight, bias, buffer)
            _add(mass[chunk.first : chunk.last], q, chunk, offsets)
            if order:
                _add_products(sums[chunk.first : chunk.last], q, phi[:, : order * d], chunk, offsets)
        if order == 0:
            return (mass,)
        return (mass, *sums.split(d, dim=2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mass: torch.Tensor, *grad_sums: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, weight, bias, shift, scale = ctx.saved_tensors
        d, order, offsets = values.shape[1], ctx.order, ctx.offsets
        grad_sum = torch.cat(grad_sums, dim=2) if order else grad_mass[..., None]  # (n, k, order d)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        grad_values = torch.zeros_like(values) if ctx.needs_input_grad[0] else None
        buffer = _buffer(values, weight, weight.shape[1], ctx.chunk_size)
        for chunk, phi in _walk(values, offsets, weight, shift, scale, order, ctx.chunk_size):
            q = _softmax(phi, weight, bias, buffer)
            bags = slice(chunk.first, chunk.last)
            grad_q = _spread(grad_mass[bags], chunk, offsets)
            if order:
                grad_q = grad_q + _spread_products(grad_sum[bags], phi[:, : order * d], chunk, offsets)
            grad_scores = q * (grad_q - (q * grad_q).sum(1, keepdim=True))
            phi_used = phi[:, : len(weight)]
            grad_weight.addmm_(phi_used.T, grad_scores)
            grad_bias += grad_scores.sum(0)
            if grad_values is not None:
                grad_phi = phi.new_zeros(phi.shape)
                grad_phi[:, : len(weight)] = grad_scores @ weight.T
                if order:
                    grad_phi[:, : order * d] += _spread_sums(grad_sum[bags], q, chunk, offsets)
                grad_x = grad_phi[:, :d]
                if phi.shape[1] > d:
                    grad_x = grad_x + 2 * phi[:, :d] * grad_phi[:, d:]
                grad_values[chunk.start : chunk.stop] = (grad_x / scale).to(grad_values.dtype)
        return grad_values, grad_weight, grad_bias, None, None, None, None, None


def _walk(values, offsets, weight, shift, scale, order, chunk_size):
    """The chunks with their φ(x): (rows, d), or (rows, 2d) if scores or moments are quadratic."""
    d = values.shape[1]
    quadratic = order == 2 or len(weight) == 2 * d
    buffer = _buffer(values, weight, 2 * d if quadratic else d, chunk_size)
    for chunk in split_bags(offsets, _rows(values, weight, chunk_size)):
        phi = buffer[: chunk.stop - chunk.start]
        x = load_rows(values, chunk.start, chunk.stop, weight, shift, scale, out=phi[:, :d])
        if quadratic:
            torch.mul(x, x, out=phi[:, d:])
        yield chunk, phi


def _softmax(phi, weight, bias, buffer):
    # All chunks share one buffer, because allocating memory for each would cost more than the product. The bias is
    # added after the product instead of by addmm, so that the scores are in the cache for the softmax.
    scores = torch.mm(phi[:, : len(weight)], weight, out=buffer[: len(phi)]).add_(bias)
    torch.softmax(scores, dim=1, out=scores)
    # probabilities this small change no sum, but products of denormal numbers take a hundred times as long
    return torch.threshold_(scores, torch.finfo(scores.dtype).tiny ** 0.5, 0.0)


def _rows(values, weight, chunk_size):
    """Number of rows of a chunk whose scores and φ(x) fit the cache together."""
    return chunk_rows(sum(weight.shape), weight.dtype, weight.device, chunk_size)


def _buffer(values, weight, columns, chunk_size):
    return weight.new_empty(min(_rows(values, weight, chunk_size), len(values)), columns)


# One small matrix product for each bag; bags of equal size share a batched product.


def _add(total, q, chunk, offsets):
    """total (n, k) += the sum of q (rows, k) over each bag."""
    if chunk.size:
        total += q.sum(0, keepdim=True) if len(total) == 1 else q.view(len(total), chunk.size, -1).sum(1)
    else:
        total.index_add_(0, bag_ids(chunk, offsets, q.device), q)


def _spread(per_bag, chunk, offsets):
    """(n, k) -> (rows, k): the value of the bag of each row."""
    if chunk.size:
        return per_bag.repeat_interleave(chunk.size, dim=0, output_size=chunk.stop - chunk.start)
    return per_bag[bag_ids(chunk, offsets, per_bag.device)]


def _each_bag(chunk, offsets):
    for bag in range(chunk.first, chunk.last):
        yield bag - chunk.first, slice(int(offsets[bag]) - chunk.start, int(offsets[bag + 1]) - chunk.start)


def _add_products(total, q, x, chunk, offsets):
    """total (n, k, f) += qᵀ x over each bag."""
    if chunk.size and len(total) == 1:
        total[0].addmm_(q.T, x)
    elif chunk.size:
        n = len(total)
        total.baddbmm_(q.view(n, chunk.size, -1).transpose(1, 2), x.reshape(n, chunk.size, -1))
    else:
        for bag, rows in _each_bag(chunk, offsets):
            total[bag].addmm_(q[rows].T, x[rows])


def _spread_products(per_bag, x, chunk, offsets):
    """(n, k, f), (rows, f) -> (rows, k): x · per_bag of the bag of each row."""
    if chunk.size:
        n = len(per_bag)
        return torch.bmm(x.reshape(n, chunk.size, -1), per_bag.transpose(1, 2)).view(len(x), -1)
    out = x.new_empty(len(x), per_bag.shape[1])
    for bag, rows in _each_bag(chunk, offsets):
        out[rows] = x[rows] @ per_bag[bag].T
    return out


def _spread_sums(per_bag, q, chunk, offsets):
    """(n, k, f), (rows, k) -> (rows, f): q · per_bag of the bag of each row."""
    if chunk.size:
        n = len(per_bag)
        return torch.bmm(q.view(n, chunk.size, -1), per_bag).view(len(q), -1)
    out = q.new_empty(len(q), per_bag.shape[2])
    for bag, rows in _each_bag(chunk, offsets):
        out[rows] = q[rows] @ per_bag[bag]
    return out
