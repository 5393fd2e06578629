"""Kernel of `resample` for matrices that interpolate, without gradient.

Memory bounds the kernel. With c float32 channels and a matrix for each image it moves 8 c bytes for each pixel: it
reads the image and writes the result. ``grid_sample`` also writes and reads the coordinates, 8 c + 16 bytes, and with
a fill other than 0 it samples an image of ones and adds the fill in passes of their own, 16 c + 48 bytes. That is 3 and
8 times as much for one channel, and 1.7 and 4 times as much for three.
"""

import torch
import triton
import triton.language as tl

from sklinvariant.ops._kernels import launch

BLOCK = 256  # pixels of a program
CHANNELS = 16  # of a program, which share the coordinates

_PADDINGS = {"constant": 0, "edge": 1, "reflect": 2}


@triton.jit
def _within(x, size, PADDING: tl.constexpr):
    """Coordinates in pixels of an axis of this size, moved into the image as the padding says."""
    if PADDING == 2:  # reflected at the outer edges of the first and last pixel
        x = tl.abs(x + 0.5)
        flips = tl.floor(x / size)
        rest = x - flips * size
        odd = flips - 2 * tl.floor(flips / 2) > 0
        x = tl.where(odd, size - rest, rest) - 0.5
    if PADDING > 0:
        return tl.minimum(tl.maximum(x, 0.0), size - 1.0)
    return tl.minimum(tl.maximum(x, -2.0), size + 1.0)  # beyond these nothing of the image is seen


@triton.jit
def _nearest_integer(x):
    """The nearest integer, and of two the even one, as float32."""
    low = tl.floor(x)
    rest = x - low
    odd = low - 2 * tl.floor(low / 2) > 0
    return low + tl.where((rest > 0.5) | ((rest == 0.5) & odd), 1.0, 0.0)


@triton.jit
def _resample_kernel(
    images,
    matrices,
    fills,
    out,
    channels,
    height,
    width,
    out_height,
    out_width,
    matrix_stride,
    image_stride,
    channel_stride,
    row_stride,
    column_stride,
    out_image_stride,
    out_channel_stride,
    out_row_stride,
    out_column_stride,
    blocks,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    NEAREST: tl.constexpr,
    PADDING: tl.constexpr,
    FILL: tl.constexpr,
):
    """A block of pixels of the result of one image, for some channels."""
    image = (tl.program_id(0) // blocks).to(tl.int64)
    pixels = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    live = pixels < out_height * out_width
    row, column = pixels // out_width, pixels % out_width
    # the centre of the pixel and its source, from -1 to 1 on each axis
    across = (2 * column + 1 - out_width).to(tl.float32) / out_width
    down = (2 * row + 1 - out_height).to(tl.float32) / out_height
    matrix = matrices + image * matrix_stride
    x = tl.load(matrix) * across + (tl.load(matrix + 1) * down + tl.load(matrix + 2))
    y = tl.load(matrix + 3) * across + (tl.load(matrix + 4) * down + tl.load(matrix + 5))
    x = _within(((x + 1) * width - 1) / 2, width, PADDING)
    y = _within(((y + 1) * height - 1) / 2, height, PADDING)
    left, top = (_nearest_integer(x), _nearest_integer(y)) if NEAREST else (tl.floor(x), tl.floor(y))
    right_share, bottom_share = x - left, y - top
    j, i = left.to(tl.int32), top.to(tl.int32)
    sees_left, sees_right = live & (j >= 0) & (j < width), live & (j >= -1) & (j < width - 1)
    sees_top, sees_bottom = (i >= 0) & (i < height), (i >= -1) & (i < height - 1)
    source = images + image * image_stride + i.to(tl.int64) * row_stride + j.to(tl.int64) * column_stride
    target = out + image * out_image_stride + row.to(tl.int64) * out_row_stride + column * out_column_stride
    if NEAREST:
        outside = tl.where(sees_left & sees_top, 0.0, 1.0)
    else:
        seen_across = tl.where(sees_left, 1 - right_share, 0.0) + tl.where(sees_right, right_share, 0.0)
        seen_down = tl.where(sees_top, 1 - bottom_share, 0.0) + tl.where(sees_bottom, bottom_share, 0.0)
        outside = 1 - seen_across * seen_down
    first = tl.program_id(1).to(tl.int64) * CHANNELS
    for channel in range(first, tl.minimum(first + CHANNELS, channels)):
        here = source + channel * channel_stride
        value = tl.load(here, mask=sees_left & sees_top, other=0.0).to(tl.float32)
        if not NEAREST:
            beside = tl.load(here + column_stride, mask=sees_right & sees_top, other=0.0).to(tl.float32)
            below = tl.load(here + row_stride, mask=sees_left & sees_bottom, other=0.0).to(tl.float32)
            across_below = tl.load(here + row_stride + column_stride, mask=sees_right & sees_bottom, other=0.0).to(
                tl.float32
            )
            value = (value * (1 - right_share) + beside * right_share) * (1 - bottom_share) + (
                below * (1 - right_share) + across_below * right_share
            ) * bottom_share
        if FILL:
            value += tl.load(fills + image * channels + channel) * outside
        tl.store(target + channel * out_channel_stride, value, mask=live)


@torch.compiler.disable  # a compiled network calls it as it is
def resample(
    images: torch.Tensor,
    back: torch.Tensor,
    size: tuple[int, ...],
    interpolation: str,
    padding: str,
    fill: float | torch.Tensor,
) -> torch.Tensor:
    """The images sampled at ``back`` (n or 1, 2, 3), from points of the result to points of the image.

    Images of any strides are read where they are. The result has channels last in memory if the images have.
    """
    n, c, h, w = images.shape
    layout = torch.channels_last if images.stride(1) == 1 and c > 1 else torch.contiguous_format
    out = torch.empty(n, c, *size, dtype=images.dtype, device=images.device, memory_format=layout)
    has_fill = padding == "constant" and (isinstance(fill, torch.Tensor) or fill != 0)
    fills = out
    if has_fill:
        fills = torch.as_tensor(fill, dtype=torch.float32, device=images.device)
        fills = fills.reshape(-1, fills.shape[1] if fills.ndim else 1).expand(n, c).contiguous()
    blocks = triton.cdiv(size[0] * size[1], BLOCK)
    launch(
        _resample_kernel,
        (n * blocks, triton.cdiv(c, CHANNELS)),
        *(images.detach(), back.float().contiguous(), fills, out, c, h, w, *size),
        *(6 if len(back) > 1 else 0, *images.stride(), *out.stride(), blocks),
        BLOCK=BLOCK,
        CHANNELS=CHANNELS,
        NEAREST=interpolation == "nearest",
        PADDING=_PADDINGS[padding],
        FILL=has_fill,
    )
    return out
