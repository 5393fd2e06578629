"""The kernel of affine resampling against torch's ``grid_sample`` in float64."""

import pytest
import torch
from tolerance import assert_close

from sklinvariant.ops import resample
from sklinvariant.transforms import warp


def case(n, c, h, w, n_matrices=None):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.eye(3, dtype=torch.float64).repeat(n if n_matrices is None else n_matrices, 1, 1)
    matrices[:, :2] += 0.5 * torch.randn(len(matrices), 2, 3, generator=generator, dtype=torch.float64)
    return torch.rand(n, c, h, w, generator=generator), matrices


def assert_agree(device, images, matrices, *args, rtol=1e-4, dtype=torch.float32, **settings):
    got = resample(images.to(device, dtype), matrices.to(device), *args, **settings)
    expected = resample(images.double(), matrices, *args, **settings)  # in float64, for which there is no kernel
    assert got.dtype == dtype
    assert_close(got, expected, rtol=rtol)


@pytest.mark.parametrize("padding", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(3, 2, 7, 11), (1, 1, 1, 1), (2, 19, 20, 3)])
def test_resample(kernels, shape, interpolation, padding):
    assert_agree(kernels, *case(*shape), None, interpolation, padding)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill", [0.7, torch.tensor([0.1, -2.0]).view(1, 2, 1, 1), torch.rand(3, 2, 1, 1)])
def test_fill(kernels, fill, interpolation):
    fill = fill.to(kernels) if isinstance(fill, torch.Tensor) else fill
    images, matrices = case(3, 2, 7, 9)
    got = resample(images.to(kernels), matrices.to(kernels), None, interpolation, fill=fill)
    fill = fill.double().cpu() if isinstance(fill, torch.Tensor) else fill
    assert_close(got, resample(images.double(), matrices, None, interpolation, fill=fill))


@pytest.mark.parametrize("size", [(3, 4), (20, 25)])
def test_other_sizes_and_one_matrix(kernels, size):
    assert_agree(kernels, *case(3, 2, 7, 9, n_matrices=1), size, fill=0.5)


@pytest.mark.parametrize("padding", ["constant", "edge", "reflect"])
def test_far_outside(kernels, padding):
    images, matrices = case(2, 1, 5, 6)
    matrices[:, :2, :2] *= 1e-3  # each pixel of the result is about a thousand images apart
    assert_agree(kernels, images, matrices, padding=padding, fill=0.3, rtol=1e-2)
    got = resample(images.to(kernels), matrices.to(kernels) * 1e-9, padding="constant", fill=0.3)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(kernels, dtype):
    images, matrices = case(2, 3, 8, 8)
    images = images.to(dtype).float()
    assert_agree(kernels, images, matrices, rtol=1e-2, dtype=dtype)


def test_channels_last(kernels):
    images, matrices = case(2, 3, 8, 9)
    last = images.to(kernels).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    got = resample(last, matrices.to(kernels))
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert_close(got, resample(images.double(), matrices))
    assert_close(resample(images.to(kernels)[:, :, ::2], matrices.to(kernels)), resample(images[:, :, ::2], matrices))


def test_gradients_are_those_of_torch(kernels, count_launches):
    images, matrices = case(2, 1, 5, 5)
    images = images.to(kernels).requires_grad_()
    resample(images, matrices.to(kernels)).sum().backward()
    assert images.grad is not None
    assert count_launches == []
    with torch.no_grad():
        resample(images, matrices.to(kernels))
    assert count_launches == ["_resample_kernel"]


@pytest.mark.parametrize("fill", ["edge", "mean", 0.2])
def test_warp(kernels, count_launches, fill):
    images, matrices = case(4, 3, 8, 8)
    images = images.permute(0, 2, 3, 1)
    got = warp(images.to(kernels), matrices.numpy(), fill=fill)
    assert_close(got, warp(images.double(), matrices.numpy(), fill=fill))
    assert count_launches == ["_resample_kernel"]


def test_a_compiled_function_calls_the_kernel(kernels, count_launches):
    images, matrices = case(2, 1, 5, 5)
    images, matrices = images.to(kernels), matrices.to(kernels)
    expected = 2 * resample(images, matrices)
    compiled = torch.compile(lambda images: 2 * resample(images, matrices), backend="eager")
    assert_close(compiled(images), expected)
    assert count_launches == ["_resample_kernel"] * 2
