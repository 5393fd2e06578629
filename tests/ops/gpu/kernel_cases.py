"""Calls of operators whose kernels are compiled ahead of time: the sizes and dtypes that matter on a GPU.

The values are not computed, so tensors are uninitialised or zero.
"""

import itertools

import numpy as np
import torch

from sklinvariant._precision import computing_in
from sklinvariant.ops import (
    BitPlanes,
    Draw,
    Scores,
    bit_planes,
    displaced_joints,
    draw_states,
    draw_units,
    nearest_codes,
    nearest_codewords,
    pair_products,
    resample,
    soft_moments,
    sum_by_label,
    weighted_moments,
)


def nearest():
    for d, precision, distance in itertools.product((3, 128, 513), ("float32", "tf32", "bf16"), (False, True)):
        with computing_in(precision):
            nearest_codewords(torch.zeros(4096, d), torch.zeros(1024, d), return_distance=distance)
    nearest_codewords(torch.zeros(4096, 128, dtype=torch.bfloat16), torch.zeros(1024, 128))


def sums():
    for d, dtype, weighted in itertools.product((3, 128), (torch.float32, torch.bfloat16), (False, True)):
        labels = torch.zeros(4096, dtype=torch.int64)
        sum_by_label(torch.zeros(4096, d, dtype=dtype), labels, 8, torch.ones(4096) if weighted else None)


def joints():
    for k, precision in itertools.product((3, 16, 45), ("float32", "tf32", "bf16")):
        views = [torch.zeros(8, k, 64, 64, requires_grad=True) for _ in range(2)]
        with computing_in(precision):
            displaced_joints(*views, 2).sum().backward()
    views = [torch.zeros(8, 16, 64, 64, dtype=torch.bfloat16, requires_grad=True) for _ in range(2)]
    displaced_joints(*views, 2).sum().backward()


def moments():
    for d, k, powers, order, precision in [
        *((128, 1024, 2, 2, precision) for precision in ("float32", "tf32", "bf16")),  # Fisher vectors
        (128, 1024, 1, 1, "tf32"),  # VLAD
        *((d, k, 1, 1, "float32") for d, k in ((128, 64), (384, 64), (512, 16), (768, 32))),
        (128, 64, 1, 1, "bf16"),
        (512, 32, 1, 1, "tf32"),
        (1, 64, 1, 0, "float32"),  # Bag of Words
    ]:
        values = torch.zeros(4096, d, requires_grad=d < 512)
        weight, bias = torch.zeros(powers * d, k, requires_grad=True), torch.zeros(k)
        with computing_in(precision):
            scores = Scores(weight, bias, torch.zeros(d), torch.ones(()))
            sum(part.sum() for part in soft_moments(values, np.array([0, 4096]), scores, order)).backward()


def weighted():
    for d in (3, 513):
        weighted_moments(torch.zeros(4096, d), torch.ones(4096), torch.zeros(2 * d, 64), torch.zeros(64))


def hamming():
    for n_bytes, n_queries, masked in itertools.product((8, 3, 67), (1, 2, 100), (False, True)):
        codes = bit_planes(np.zeros((4096, n_bytes), np.uint8), "cpu")
        removed = torch.zeros(4096, dtype=torch.bool) if masked else None
        nearest_codes([codes], BitPlanes(codes.words, n_queries), 10, removed)


def pairs():
    for d, with_first in itertools.product((1, 4096), (False, True)):
        pair_products(torch.zeros(4096, d), torch.zeros(4095, dtype=torch.bool), with_first=with_first)


def units():
    for n, precision in itertools.product((100, 1024, 4096), ("float32", "tf32", "bf16")):
        x, weight = torch.zeros(n, 2048), torch.zeros(4096, 2048)
        with computing_in(precision):
            draw_units(x, weight, torch.zeros(4096), Draw(0, 1))
            draw_units(torch.zeros(n, 4096), weight.T, torch.zeros(2048), Draw(0, 2))
    draw_states(torch.zeros(100, 64, dtype=torch.bfloat16), Draw(2**40, 3))


def resampling():
    matrices = 0.9 * torch.eye(3).repeat(2, 1, 1)
    for interpolation, padding in itertools.product(("bilinear", "nearest"), ("constant", "edge", "reflect")):
        resample(torch.zeros(2, 3, 32, 32), matrices, None, interpolation, padding, 0.5)
    resample(torch.zeros(2, 1, 28, 28, dtype=torch.bfloat16), matrices)


def ones():
    """Numbers equal to 1 are compiled into a kernel, as constants without the methods of tensors."""
    x, labels = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, dtype=torch.int64)
    nearest_codewords(x, torch.zeros(1, 1), return_distance=True)
    sum_by_label(x.detach(), labels, 1, torch.ones(1))
    weight = torch.zeros(1, 200, requires_grad=True)
    scores = Scores(weight, torch.zeros(200), torch.zeros(1), torch.ones(()))
    sum(part.sum() for part in soft_moments(x, np.array([0, 1]), scores, 1)).backward()
    pair_products(torch.zeros(2, 1), torch.zeros(1, dtype=torch.bool))
    resample(torch.zeros(1, 1, 1, 1), 0.9 * torch.eye(3)[None], padding="reflect")
