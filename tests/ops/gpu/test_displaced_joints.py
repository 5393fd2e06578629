"""Kernels of the joints of displaced predictions against the torch reference."""

import pytest
import torch
from tolerance import assert_close

from sklinvariant._precision import computing_in
from sklinvariant.ops import displaced_joints

# (n, k, q, h, w, half_window)
SHAPES = [(2, 3, 4, 5, 6, 1), (1, 1, 1, 1, 1, 0), (3, 17, 2, 9, 4, 2), (1, 70, 20, 7, 5, 1), (2, 2, 3, 3, 2, 2)]


def views(n, k, q, h, w, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(n, m, h, w, generator=generator).softmax(1) for m in (k, q))
    there = torch.randint(2, (n, 1, h, w), generator=generator)
    return first.to(dtype), (second * there).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_joints_and_gradients(kernels, count_launches, shape, dtype):
    *sizes, half_window = shape
    given = views(*sizes, dtype)
    exact = [view.double().requires_grad_() for view in given]
    actual = [view.to(kernels).requires_grad_() for view in given]
    expected, joints = displaced_joints(*exact, half_window), displaced_joints(*actual, half_window)
    assert joints.dtype == torch.float32
    assert_close(joints, expected.detach())
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    expected.backward(weights.double())
    joints.backward(weights.to(kernels))
    for mine, theirs in zip(actual, exact, strict=True):
        assert mine.grad.dtype == dtype
        assert_close(mine.grad, theirs.grad, rtol=1e-4 if dtype == torch.float32 else 2e-2)
    assert count_launches[-3:] == ["_joint_kernel", "_spread_kernel", "_spread_kernel"]


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_joints_in_lower_precision(kernels, precision):
    given = views(2, 3, 4, 6, 5)
    exact = [view.double().requires_grad_() for view in given]
    actual = [view.to(kernels).requires_grad_() for view in given]
    with computing_in(precision):
        joints = displaced_joints(*actual, 2)
    expected = displaced_joints(*exact, 2)
    assert_close(joints.detach(), expected.detach(), rtol=1e-2)
    joints.square().sum().backward()
    expected.square().sum().backward()
    for mine, theirs in zip(actual, exact, strict=True):
        assert_close(mine.grad, theirs.grad, rtol=2e-2)


def test_many_pixels_are_summed_in_parts(kernels, monkeypatch):
    from sklinvariant.ops.gpu import _displaced_joints

    first, second = views(2, 3, 4, 11, 13)
    expected = displaced_joints(first.double(), second.double(), 1)
    for programs in (1, 2, 7):
        monkeypatch.setattr(_displaced_joints, "PROGRAMS", programs)
        assert_close(displaced_joints(first.to(kernels), second.to(kernels), 1), expected)


def test_pixels_are_numbered_in_64_bits_if_there_are_many(kernels, monkeypatch):
    import triton.language as tl

    from sklinvariant.ops.gpu import _displaced_joints

    monkeypatch.setattr(_displaced_joints, "_index_dtype", lambda n: tl.int64)
    first, second = views(2, 3, 4, 5, 6)
    expected = displaced_joints(first.double(), second.double(), 1)
    assert_close(displaced_joints(first.to(kernels), second.to(kernels), 1), expected)


def test_views_need_not_be_contiguous(kernels):
    first, second = (view.transpose(2, 3) for view in views(2, 3, 4, 5, 6))
    expected = displaced_joints(first.double(), second.double(), 1)
    assert_close(displaced_joints(first.to(kernels), second.to(kernels), 1), expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at the tensors where it stops
def test_joints_in_a_compiled_function(kernels):
    given = views(2, 3, 4, 5, 6)
    exact = [view.double().requires_grad_() for view in given]
    actual = [view.to(kernels).requires_grad_() for view in given]

    def loss(first, second):
        return displaced_joints(first, 2 * second, 1).square().sum()

    loss(*exact).backward()
    torch.compile(loss, backend="eager")(*actual).backward()
    for mine, theirs in zip(actual, exact, strict=True):
        assert_close(mine.grad, theirs.grad)


def test_no_images(kernels):
    first, second = (view[:0].to(kernels).requires_grad_() for view in views(1, 3, 4, 5, 6))
    joints = displaced_joints(first, second, 1)
    assert joints.tolist() == torch.zeros(3, 3, 3, 4).tolist()
    joints.sum().backward()
    assert first.grad.shape == (0, 3, 5, 6)


def test_wide_windows_use_fourier_transforms(kernels, count_launches):
    first, second = views(1, 3, 4, 5, 6, torch.bfloat16)
    joints = displaced_joints(first.to(kernels), second.to(kernels), 8)
    assert "_joint_kernel" not in count_launches
    assert joints.dtype == torch.float32
    assert_close(joints, displaced_joints(first.double(), second.double(), 8), rtol=1e-3)
