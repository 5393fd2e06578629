"""Speed of feature maps by one convolution, compared with extracting every patch, in images per second.

    python benchmarks/convolutional_features.py [--images 64] [--size 32] [--patch 6] [--filters 100] [--device cuda]

The peer is a pipeline of scikit-learn's functions, applied to one batch of images at a time: extract every patch
(``extract_patches_2d``), normalise its contrast, whiten it, and call the ``transform`` of the extractor.
"""

import argparse

import numpy as np
import torch
from measuring import add_json, medians, report
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import MiniBatchDictionaryLearning

from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.feature_extraction import ConvolutionalFeatures


def by_patches(features, images, batch=16):
    """The maps (n, h', w', k) of `ConvolutionalFeatures`, computed patch by patch."""
    extractor, size = features.extractor_, features.patch_size
    mean, whitening = features.mean_.astype(np.float32), features.whitening_.astype(np.float32)
    maps = []
    for start in range(0, len(images), batch):
        windows = sliding_window_view(images[start : start + batch], (size, size), axis=(1, 2))
        n, h, w = windows.shape[:3]
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * h * w, -1)
        patches = patches - patches.mean(1, keepdims=True)
        patches /= patches.std(1, keepdims=True) + np.float32(0.01)
        code = extractor.transform((patches - mean) @ whitening)
        if hasattr(extractor, "cluster_centers_"):
            code = np.maximum(0, code.mean(1, keepdims=True) - code)
        maps.append(np.abs(code).reshape(n, h, w, -1))
    return np.concatenate(maps)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--patch", type=int, default=6)
    parser.add_argument("--filters", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    args = parser.parse_args()
    noise = torch.rand(args.images, 3, args.size // 4, args.size // 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (args.size, args.size), mode="bicubic").clamp(0, 1)
    images = np.ascontiguousarray(smooth.permute(0, 2, 3, 1).numpy())
    k = args.filters
    extractors = {
        "k-means, triangle": MiniBatchKMeans(k, n_init=1),
        "dictionary, soft threshold": MiniBatchDictionaryLearning(
            k, max_iter=1, transform_algorithm="threshold", transform_alpha=0.5, split_sign=True
        ),
        "sparse autoencoder": SparseAutoencoder(k, max_epochs=3, device=args.device),
    }
    given = torch.as_tensor(images, device=args.device)
    rows = []
    for name, extractor in extractors.items():
        features = ConvolutionalFeatures(extractor, patch_size=args.patch, n_patches=3000, random_state=0).fit(images)
        seconds = medians(
            args.repeats,
            ours=lambda features=features: features.transform(given),
            patches=lambda features=features: by_patches(features, images),
        )
        error = np.abs(features.transform(given).cpu().numpy() - by_patches(features, images)).max()
        rows.append(
            [
                name,
                f"{args.images / seconds['ours']:.0f}",
                f"{args.images / seconds['patches']:.0f}",
                f"{seconds['patches'] / seconds['ours']:.1f}",
                f"{error:.0e}",
            ]
        )
    print(
        f"{args.images} images of {args.size} × {args.size} × 3, patches of {args.patch}, {k} filters, {args.device}, "
        f"{torch.get_num_threads()} threads; medians of {args.repeats}\n"
    )
    header = ["", "images/s", "patch by patch", "times as fast", "largest difference"]
    report("convolutional_features", header, rows, args)


if __name__ == "__main__":
    main()
