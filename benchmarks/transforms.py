"""Speed of the image transformations in images per second, compared with kornia and scikit-image on the same batch.

    python benchmarks/transforms.py [--size 224] [--batch 64] [--device cuda]

Each library gets its own format: kornia (n, c, h, w) tensors, scikit-image one (h, w, c) array at a time, sklinvariant
(n, h, w, c) tensors. All use bilinear interpolation, constant fill and float32. kornia is skipped if it is not
installed.
"""

import argparse

import numpy as np
import torch
from measuring import add_json, medians, report
from skimage.transform import AffineTransform, warp

from sklinvariant.transforms import ColorJitter, Compose, Flip, Rotation, Scale, Shear, pixel_matrix


def skimage_warp(images, matrices):
    for image, matrix in zip(images, matrices, strict=True):
        warp(image, AffineTransform(matrix=np.linalg.inv(pixel_matrix(matrix, image.shape[:2]))), order=1)


def kornia_peers(images, device):
    try:
        from kornia.enhance import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
        from kornia.geometry.transform import rotate, warp_affine
    except ImportError:
        return {}
    x = images.permute(0, 3, 1, 2).contiguous()
    angles = torch.rand(len(x), device=device) * 360
    factor = torch.rand(len(x), device=device) + 0.5

    def jitter():
        adjust_hue(adjust_saturation(adjust_contrast(adjust_brightness(x, factor), factor), factor), factor)

    def warp_chain(matrices):
        pixels = torch.tensor(pixel_matrix(matrices, x.shape[-2:]), dtype=torch.float32, device=device)
        warp_affine(x, pixels[:, :2], x.shape[-2:])

    return {"rotation": lambda _: rotate(x, angles), "chain": warp_chain, "jitter": lambda _: jitter()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    args = parser.parse_args()
    shape = (args.batch, args.size, args.size, 3)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(args.device)
    arrays = images.cpu().numpy()
    chain = Compose([Rotation(30), Scale(), Shear(), Flip()])
    quarter = Rotation(n_steps=4)
    rotation, jitter = Rotation(), ColorJitter()
    few = slice(0, 8)  # images for scikit-image, which is slow
    work = [
        ("rotation by any angle", "rotation", rotation),
        ("rotation, scale, shear, flip: one matrix", "chain", chain),
        ("brightness, contrast, saturation, hue", "jitter", jitter),
        ("rotation by 90°", "quarter", quarter),
    ]
    peers = kornia_peers(images, args.device)
    rows = []
    for title, kind, transform in work:
        params = transform.sample(args.batch, 0)
        functions = {"ours": lambda transform=transform, params=params: transform.apply(images, params)}
        if kind in peers:
            matrices = transform.matrix(params) if kind == "chain" else None
            functions["kornia"] = lambda kind=kind, matrices=matrices: peers[kind](matrices)
        if kind in ("rotation", "chain"):
            matrices = transform.matrix(params)[few]
            functions["skimage"] = lambda matrices=matrices: skimage_warp(arrays[few], matrices)
        if kind == "chain":
            parts = params.split([1, 1, 2, 2], dim=1)

            def one_after_the_other(parts=parts):
                views = images
                for part, rows in zip(chain.transforms, parts, strict=True):
                    views = part.apply(views, rows)

            functions["each"] = one_after_the_other
        seconds = medians(args.repeats, **functions)
        if "skimage" in seconds:
            seconds["skimage"] *= args.batch / 8
        ratios = [
            f"{seconds[name] / seconds['ours']:.1f}" if name in seconds else ""
            for name in ("kornia", "skimage", "each")
        ]
        rows.append([title, f"{args.batch / seconds['ours']:.0f}", *ratios])
    print(f"{args.batch} images {args.size} x {args.size} x 3, {args.device}, {torch.get_num_threads()} threads\n")
    header = ["work", "images/s", "times kornia", "times scikit-image", "times ours, one after the other"]
    report("transforms", header, rows, args)


if __name__ == "__main__":
    main()
