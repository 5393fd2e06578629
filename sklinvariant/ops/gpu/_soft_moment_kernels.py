"""Kernels of the sums and gradients of `soft_moments`, which ``_soft_moments.py`` launches.

Axes: N rows, n bags, k codewords, d features. Blocks of scores (rows, codewords) or (codewords, rows) stay in registers
and are computed again by each kernel, because storing them would take N × k numbers. A softmax over more codewords
than a block holds needs a pass for the largest score and the sum of each row before the pass for the moments.
"""

import triton
import triton.language as tl

from sklinvariant.ops.gpu._products import add_product, load_rows


@triton.jit
def _load_words(matrix, words, columns, inside, width):
    """A block of a matrix with a row of ``width`` numbers for each codeword."""
    return tl.load(matrix + words[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _add_forms(
    total,
    values,
    rows,
    live,
    matrix,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """total + matrix (k, d) · z, or matrix (k, 2d) · (z, z²), for a block of rows and codewords.

    ``AXIS`` is the axis of the codewords. A few features are read at a time: more would take too many registers.
    """
    for start in range(0, d, STEP):
        dims = start + tl.arange(0, STEP)
        z = load_rows(values, rows, live, dims, d, shift) * root * root
        inside = (words[:, None] < k) & (dims[None, :] < d)
        for power in tl.static_range(POWERS):
            w = _load_words(matrix, words, power * d + dims, inside, POWERS * d)
            raised = z * z if power else z
            if AXIS == 0:
                total = add_product(total, w, tl.trans(raised), PRECISION)
            else:
                total = add_product(total, raised, tl.trans(w), PRECISION)
    return total


@triton.jit
def _scores(
    values,
    rows,
    live,
    weight,
    bias,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Scores of a block of rows and codewords; -inf for codewords beyond the last."""
    total = tl.zeros((words.shape[0], rows.shape[0]) if AXIS == 0 else (rows.shape[0], words.shape[0]), tl.float32)
    total = _add_forms(total, values, rows, live, weight, words, k, d, shift, root, STEP, POWERS, AXIS, PRECISION)
    return total + tl.expand_dims(tl.load(bias + words, mask=words < k, other=float("-inf")), 1 - AXIS)


@triton.jit
def _slopes(
    values,
    rows,
    live,
    grad_mass,
    grad_sums,
    bag,
    words,
    k,
    d,
    shift,
    root,
    STEP: tl.constexpr,
    ORDER: tl.constexpr,
    AXIS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradient of a block of posteriors of rows of one bag."""
    total = tl.zeros((words.shape[0], rows.shape[0]) if AXIS == 0 else (rows.shape[0], words.shape[0]), tl.float32)
    if ORDER > 0:
        matrix = grad_sums + bag * k * (ORDER * d)
        total = _add_forms(total, values, rows, live, matrix, words, k, d, shift, root, STEP, ORDER, AXIS, PRECISION)
    return total + tl.expand_dims(tl.load(grad_mass + bag * k + words, mask=words < k, other=0.0), 1 - AXIS)


@triton.jit
def _posteriors(scores, norms, rows, live, n, ALONE: tl.constexpr, AXIS: tl.constexpr):
    """Softmax of a block of scores; 0 for rows outside. ``ALONE``: the block has all codewords."""
    if ALONE:
        share = tl.exp(scores - tl.expand_dims(tl.max(scores, axis=AXIS), AXIS))
        q = share / tl.expand_dims(tl.sum(share, axis=AXIS), AXIS)
    else:
        largest = tl.load(norms + rows, mask=live, other=0.0)
        total = tl.load(norms + n + rows, mask=live, other=1.0)
        q = tl.exp(scores - tl.expand_dims(largest, AXIS)) * tl.expand_dims(1.0 / total, AXIS)
    return tl.where(tl.expand_dims(live, AXIS), q, 0.0)


@triton.jit
def norms_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    n,
    k,
    d,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    SLOPES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The largest score, Σ_k exp(score - largest) and, with ``SLOPES``, Σ_k q_k slope_k of each row: norms (2 or 3, n).

    With ``SLOPES`` the rows of a program belong to one bag.
    """
    tile = tl.program_id(0).to(tl.int64)
    start, stop, bag = tile * BLOCK_N, n, tile
    if SLOPES:
        start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    rows = start + tl.arange(0, BLOCK_N)
    live = rows < stop
    root = tl.load(root)
    largest = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    slope = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, k, BLOCK_K):
        words = first + tl.arange(0, BLOCK_K)
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 1, PRECISION)
        most = tl.maximum(largest, tl.max(scores, axis=1))
        base = tl.where(most == float("-inf"), 0.0, most)
        share = tl.exp(scores - base[:, None])
        before = tl.exp(largest - base)
        total = total * before + tl.sum(share, axis=1)
        if SLOPES:
            slopes = _slopes(
                values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 1, PRECISION
            )
            slope = slope * before + tl.sum(share * slopes, axis=1)
        largest = most
    tl.store(norms + rows, largest, mask=live)
    tl.store(norms + n + rows, total, mask=live)
    if SLOPES:
        tl.store(norms + n + n + rows, slope / total, mask=live)


@triton.jit
def moments_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    parts,
    row_weights,
    mass,
    sums,
    n,
    k,
    d,
    word_blocks,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The moments of a part of a bag, for a block of codewords and features. Programs of a part are neighbours."""
    program = tl.program_id(0)
    words = program % word_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    dims = program // word_blocks % dim_blocks * DIMS + tl.arange(0, DIMS)
    part = (program // (word_blocks * dim_blocks)).to(tl.int64)
    start, stop, slot = tl.load(parts + 3 * part), tl.load(parts + 3 * part + 1), tl.load(parts + 3 * part + 2)
    root = tl.load(root)
    count = tl.zeros((BLOCK_K,), tl.float32)
    first = tl.zeros((BLOCK_K, DIMS), tl.float32)
    second = tl.zeros((BLOCK_K, DIMS), tl.float32)
    for i in range(start, stop, BLOCK_N):
        rows = i + tl.arange(0, BLOCK_N)
        live = rows < stop
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 0, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 0)
        if WEIGHTED:
            q *= tl.load(row_weights + rows, mask=live, other=0.0)[None, :]
        count += tl.sum(q, axis=1)
        if ORDER > 0:
            z = load_rows(values, rows, live, dims, d, shift) * root * root
            first = add_product(first, q, z, PRECISION)
        if ORDER > 1:
            second = add_product(second, q, z * z, PRECISION)
    if program // word_blocks % dim_blocks == 0:
        tl.store(mass + slot * k + words, count, mask=words < k)
    if ORDER > 0:
        inside = (words[:, None] < k) & (dims[None, :] < d)
        target = sums + slot * k * (ORDER * d) + words[:, None] * (ORDER * d) + dims[None, :]
        tl.store(target, first, mask=inside)
        if ORDER > 1:
            tl.store(target + d, second, mask=inside)


@triton.jit
def weight_gradient_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    grad_weight,
    grad_bias,
    n,
    k,
    d,
    n_tiles,
    groups,
    word_blocks,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of a block of weights and biases, summed over a group of tiles."""
    program = tl.program_id(0)
    words = program % word_blocks * BLOCK_K + tl.arange(0, BLOCK_K)
    dims = program // word_blocks % dim_blocks * DIMS + tl.arange(0, DIMS)
    group = (program // (word_blocks * dim_blocks)).to(tl.int64)
    root = tl.load(root)
    count = tl.zeros((BLOCK_K,), tl.float32)
    first = tl.zeros((BLOCK_K, DIMS), tl.float32)
    second = tl.zeros((BLOCK_K, DIMS), tl.float32)
    for tile in range(group * n_tiles // groups, (group + 1) * n_tiles // groups):
        start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
        rows = start + tl.arange(0, BLOCK_N)
        live = rows < stop
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 0, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 0)
        slopes = _slopes(
            values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 0, PRECISION
        )
        if ALONE:
            mean = tl.sum(q * slopes, axis=0)
        else:
            mean = tl.load(norms + n + n + rows, mask=live, other=0.0)
        g = q * (slopes - mean[None, :])
        count += tl.sum(g, axis=1)
        z = load_rows(values, rows, live, dims, d, shift) * root * root
        first = add_product(first, g, z, PRECISION)
        if POWERS > 1:
            second = add_product(second, g, z * z, PRECISION)
    if program // word_blocks % dim_blocks == 0:
        tl.store(grad_bias + group * k + words, count, mask=words < k)
    inside = (words[:, None] < k) & (dims[None, :] < d)
    target = grad_weight + group * k * (POWERS * d) + words[:, None] * (POWERS * d) + dims[None, :]
    tl.store(target, first, mask=inside)
    if POWERS > 1:
        tl.store(target + d, second, mask=inside)


@triton.jit
def value_gradient_kernel(
    values,
    weight,
    bias,
    shift,
    root,
    norms,
    tiles,
    grad_mass,
    grad_sums,
    grad_values,
    n,
    k,
    d,
    dim_blocks,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    DIMS: tl.constexpr,
    STEP: tl.constexpr,
    POWERS: tl.constexpr,
    ORDER: tl.constexpr,
    ALONE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of the values of a tile of rows, for a block of features."""
    program = tl.program_id(0)
    dims = program % dim_blocks * DIMS + tl.arange(0, DIMS)
    tile = (program // dim_blocks).to(tl.int64)
    start, stop, bag = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    rows = start + tl.arange(0, BLOCK_N)
    live = rows < stop
    root = tl.load(root)
    matrix = grad_sums + bag * k * (ORDER * d)
    first = tl.zeros((BLOCK_N, DIMS), tl.float32)
    second = tl.zeros((BLOCK_N, DIMS), tl.float32)
    for word in range(0, k, BLOCK_K):
        words = word + tl.arange(0, BLOCK_K)
        scores = _scores(values, rows, live, weight, bias, words, k, d, shift, root, STEP, POWERS, 1, PRECISION)
        q = _posteriors(scores, norms, rows, live, n, ALONE, 1)
        slopes = _slopes(
            values, rows, live, grad_mass, grad_sums, bag, words, k, d, shift, root, STEP, ORDER, 1, PRECISION
        )
        if ALONE:
            mean = tl.sum(q * slopes, axis=1)
        else:
            mean = tl.load(norms + n + n + rows, mask=live, other=0.0)
        g = q * (slopes - mean[:, None])
        inside = (words[:, None] < k) & (dims[None, :] < d)
        first = add_product(first, g, _load_words(weight, words, dims, inside, POWERS * d), PRECISION)
        if POWERS > 1:
            second = add_product(second, g, _load_words(weight, words, d + dims, inside, POWERS * d), PRECISION)
        if ORDER > 0:
            first = add_product(first, q, _load_words(matrix, words, dims, inside, ORDER * d), PRECISION)
        if ORDER > 1:
            second = add_product(second, q, _load_words(matrix, words, d + dims, inside, ORDER * d), PRECISION)
    total = first
    if POWERS > 1 or ORDER > 1:
        z = load_rows(values, rows, live, dims, d, shift) * root * root
        total += 2 * z * second
    inside = live[:, None] & (dims[None, :] < d)
    tl.store(grad_values + rows[:, None] * d + dims[None, :], total * root * root, mask=inside)
