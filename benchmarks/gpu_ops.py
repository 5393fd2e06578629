"""Operators with Triton kernels, compared with torch as a user would write them, for `gpu.py`."""

import functools

import numpy as np
import torch

from sklinvariant._precision import computing_in
from sklinvariant.hashing._rbm import RestrictedBoltzmannMachine
from sklinvariant.ops import (
    Draw,
    Scores,
    displaced_joints,
    draw_units,
    nearest_codewords,
    pair_products,
    resample,
    soft_moments,
    sum_by_label,
)

COLUMNS = ["operator", "size", "precision", "ms", "share of the rate", "peak MB", "eager ms", "compiled ms"]


def cases(gpu, args):
    """The measurements of this part by name; each yields rows of the table."""
    return {
        "soft moments": functools.partial(moments, gpu),
        "NetVLAD": functools.partial(netvlad, gpu),
        "nearest codeword": functools.partial(nearest, gpu),
        "sums by label": functools.partial(sums, gpu),
        "displaced joints": functools.partial(joints, gpu),
        "binary units": functools.partial(units, gpu),
        "RBM step": functools.partial(steps, gpu),
        "pair products": functools.partial(products, gpu),
        "resampling": functools.partial(warps, gpu),
    }


def row(gpu, name, size, precision, ours, eager, work, rate):
    """A row; ``work`` is the number of operations or bytes, and ``rate`` what the GPU reaches of them per second."""
    with computing_in(precision):
        seconds, peak = gpu.seconds(ours), gpu.peak(ours)
        others = [_ms(gpu, eager), _compiled_ms(gpu, eager) if gpu.device.type == "cuda" else ""]
    return name, size, precision, f"{seconds * 1e3:.3g}", f"{work / seconds / rate:.0%}", f"{peak:.0f}", *others


def autocast(gpu, precision, function):
    """The function in torch's autocast to bfloat16 if the precision is "bf16", for functions of float32 tensors."""

    def call():
        with torch.autocast(gpu.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return function()

    return call


def _compiled_ms(gpu, function):
    torch._dynamo.reset()  # it compiles a function only a few times, and then runs it eagerly
    return _ms(gpu, torch.compile(function))


def _ms(gpu, function):
    try:
        return f"{gpu.seconds(function) * 1e3:.3g}"
    except Exception as error:  # it has no memory, or the compiler fails
        return type(error).__name__


def moments(gpu):
    d, k = gpu.size(128, 16), gpu.size(1024, 32)
    for n, bags in ((gpu.size(2_000_000, 2000), 1), (gpu.size(2_000_000, 2000), gpu.size(40_000, 40))):
        offsets = np.linspace(0, n, bags + 1).astype(np.int64)
        for precision in ("bf16", "tf32", "float32"):
            x = gpu.normal(n, d).to(torch.bfloat16 if precision == "bf16" else torch.float32)
            w, b = gpu.normal(d, k, seed=1) / d**0.5, gpu.normal(k, seed=2)
            scores = Scores(w, b, torch.zeros(d, device=gpu.device), torch.ones((), device=gpu.device))
            words = w.to(x.dtype)
            bias = b.to(x.dtype)

            def eager(x=x, words=words, bias=bias, bags=bags):
                q = torch.softmax(x @ words + bias, dim=1)
                return torch.bmm(q.view(bags, -1, k).transpose(1, 2), x.view(bags, -1, d))

            size = f"{n:,} × {d}, {k} words, {bags:,} bags"
            work = 4 * n * d * k
            ours = functools.partial(soft_moments, x, offsets, scores, 1)
            yield row(gpu, "soft moments S0, S1", size, precision, ours, eager, work, gpu.matmul_rate(precision))
    yield from gradients(gpu, d, k)


def gradients(gpu, d, k):
    n, bags = gpu.size(200_000, 1000), gpu.size(4000, 20)
    offsets = np.linspace(0, n, bags + 1).astype(np.int64)
    for precision in ("bf16", "tf32", "float32"):
        x = gpu.normal(n, d)
        w, b = (gpu.normal(d, k, seed=1) / d**0.5).requires_grad_(), gpu.normal(k, seed=2).requires_grad_()
        scores = Scores(w, b, torch.zeros(d, device=gpu.device), torch.ones((), device=gpu.device))

        def ours(x=x, scores=scores):
            mass, total = soft_moments(x, offsets, scores, 1)
            torch.autograd.grad(mass.sum() + total.square().sum(), scores[:2])

        def eager(x=x, w=w, b=b):
            q = torch.softmax(x @ w + b, dim=1).view(bags, -1, k)
            total = torch.bmm(q.transpose(1, 2), x.view(bags, -1, d))
            torch.autograd.grad(q.sum() + total.square().sum(), (w, b))

        size, work = f"{n:,} × {d}, {k} words, {bags:,} bags", 10 * n * d * k
        other = autocast(gpu, precision, eager)
        yield row(gpu, "soft moments, with gradient", size, precision, ours, other, work, gpu.matmul_rate(precision))


def netvlad(gpu):
    """The NetVLAD problems of KernelBench: level 3, 46 with ghost clusters, 47 without; the batch norm is folded."""
    n, m, d, k = gpu.size((2048, 100, 512, 32), (4, 10, 16, 8))
    offsets = np.arange(n + 1, dtype=np.int64) * m
    for ghosts in (0, k // 2):
        for precision in ("bf16", "tf32", "float32"):
            x = gpu.normal(n, m, d)
            words, centres = gpu.normal(d, k + ghosts, seed=1) / d**0.5, gpu.normal(k, d, seed=2) / d**0.5
            b = gpu.normal(k + ghosts, seed=3)
            scores = Scores(words, b, torch.zeros(d, device=gpu.device), torch.ones((), device=gpu.device))

            def ours(x=x, scores=scores, centres=centres):
                mass, total = soft_moments(x.view(-1, d), offsets, scores, 1)
                residuals = total[:, :k] - mass[:, :k, None] * centres
                residuals = torch.nn.functional.normalize(residuals, dim=2).flatten(1)
                return torch.nn.functional.normalize(residuals, dim=1)

            def eager(x=x, words=words, b=b, centres=centres):
                q = torch.softmax(x.view(-1, d) @ words + b, dim=1)[:, :k].view(n, m, k)
                residuals = torch.bmm(q.transpose(1, 2), x) - q.sum(1)[..., None] * centres
                residuals = torch.nn.functional.normalize(residuals, dim=2).flatten(1)
                return torch.nn.functional.normalize(residuals, dim=1)

            size, work = f"{n:,} × {m} × {d}, {k} + {ghosts} words", 2 * n * m * d * (2 * k + ghosts)
            other = autocast(gpu, precision, eager)
            yield row(gpu, "NetVLAD", size, precision, ours, other, work, gpu.matmul_rate(precision))


def nearest(gpu):
    n, d, k = gpu.size((2_000_000, 128, 1024), (2000, 16, 32))
    for precision in ("bf16", "tf32", "float32"):
        x = gpu.normal(n, d).to(torch.bfloat16 if precision == "bf16" else torch.float32)
        words = gpu.normal(k, d, seed=1)
        half = words.to(x.dtype)

        def eager(x=x, half=half):
            return (x @ half.T - (half * half).sum(1) / 2).argmax(1)

        ours = functools.partial(nearest_codewords, x, words)
        size = f"{n:,} × {d}, {k} words"
        yield row(gpu, "nearest codeword", size, precision, ours, eager, 2 * n * d * k, gpu.matmul_rate(precision))


def sums(gpu):
    n, d, k = gpu.size((2_000_000, 128, 1024), (2000, 16, 32))
    x, labels = gpu.normal(n, d), torch.randint(k, (n,), device=gpu.device)

    def eager():
        return x.new_zeros(k, d).index_add_(0, labels, x)

    ours = functools.partial(sum_by_label, x, labels, k)
    yield row(gpu, "sums by label", f"{n:,} × {d}, {k} labels", "float32", ours, eager, 4 * n * d, gpu.bandwidth())


def joints(gpu):
    n, k, side, d = gpu.size((120, 24, 128, 10), (2, 3, 16, 2))
    for precision in ("bf16", "tf32", "float32"):
        first, second = (gpu.normal(n, k, side, side, seed=seed).softmax(1) for seed in (0, 1))

        def eager(first=first, second=second):
            seen = torch.nn.functional.pad(second, (d, d, d, d)).transpose(0, 1)
            return torch.nn.functional.conv2d(seen, first.transpose(0, 1))

        ours = functools.partial(displaced_joints, first, second, d)
        size, work = f"{n} × {k} × {side}², window {2 * d + 1}²", 2 * n * k * k * side**2 * (2 * d + 1) ** 2
        other = autocast(gpu, precision, eager)
        yield row(gpu, "displaced joints", size, precision, ours, other, work, gpu.matmul_rate(precision))


def units(gpu):
    n, d, k = gpu.size((4096, 4096, 4096), (50, 12, 8))
    for precision in ("bf16", "tf32", "float32"):
        x = gpu.normal(n, d).to(torch.bfloat16 if precision == "bf16" else torch.float32)
        w, b = gpu.normal(k, d, seed=1) / d**0.5, gpu.normal(k, seed=2)
        half = w.to(x.dtype)

        def eager(x=x, half=half, b=b):
            probabilities = torch.sigmoid((x @ half.T).float() + b)
            return probabilities, (torch.rand_like(probabilities) < probabilities).float()

        ours = functools.partial(draw_units, x, w, b, Draw(0, 1))
        size, work = f"{n:,} × {d:,}, {k:,} units", 2 * n * d * k
        yield row(gpu, "binary units", size, precision, ours, eager, work, gpu.matmul_rate(precision))


def steps(gpu):
    """Steps of contrastive divergence with one Gibbs step, whose three half-steps and update are five products."""
    n, d, k = gpu.size((4096, 4096, 4096), (50, 12, 8))
    for precision in ("bf16", "tf32", "float32"):
        v = gpu.normal(n, d).sigmoid()
        w, b, c = gpu.normal(k, d, seed=1) / 100, *(torch.zeros(size, device=gpu.device) for size in (k, d))
        machine = RestrictedBoltzmannMachine(w, b, c, generator=torch.Generator(gpu.device))

        def eager(v=v, w=w, b=b, c=c):
            z = torch.sigmoid(v @ w.T + b)
            model = torch.sigmoid((torch.rand_like(z) < z).to(w) @ w + c)
            z_model = torch.sigmoid(model @ w.T + b)
            for parameter, change in (
                (w, z.T @ v - z_model.T @ model),
                (b, (z - z_model).sum(0)),
                (c, (v - model).sum(0)),
            ):
                parameter += 1e-6 / n * change

        ours = autocast(gpu, precision, functools.partial(machine.learn, v, 1e-6))
        other = autocast(gpu, precision, eager)
        size, work = f"{n:,} × {d:,}, {k:,} units", 10 * n * d * k
        yield row(gpu, "RBM step (CD-1)", size, precision, ours, other, work, gpu.matmul_rate(precision))


def products(gpu):
    n, d = gpu.size((100_000, 4096), (50, 12))
    x = gpu.normal(n, d)
    follows = torch.ones(n - 1, dtype=torch.bool, device=gpu.device)
    follows[:: gpu.size(1000, 10)] = False

    def eager():
        first, second = x[:-1][follows], x[1:][follows]
        change = first - second
        return first.T @ first + second.T @ second, change.T @ change

    ours = functools.partial(pair_products, x, follows)
    yield row(gpu, "pair products", f"{n:,} × {d:,}", "float32", ours, eager, 4 * n * d * d, gpu.matmul_rate("float32"))


def warps(gpu):
    n, c, side = gpu.size((2048, 3, 224), (4, 3, 16))
    images, angle = gpu.normal(n, c, side, side), torch.rand(n, device=gpu.device) * 6.28
    matrices = torch.eye(3, device=gpu.device).repeat(n, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angle.cos()
    matrices[:, 0, 1], matrices[:, 1, 0] = -angle.sin(), angle.sin()

    def eager():
        grid = torch.nn.functional.affine_grid(
            torch.linalg.inv(matrices)[:, :2], list(images.shape), align_corners=False
        )
        return torch.nn.functional.grid_sample(images, grid, align_corners=False)

    ours = functools.partial(resample, images, matrices)
    work = 2 * images.numel() * 4
    yield row(gpu, "resampling", f"{n:,} × {c} × {side}²", "float32", ours, eager, work, gpu.bandwidth())
