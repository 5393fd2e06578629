"""
AnyLoc in ten lines, for more images than fit into memory
=========================================================

AnyLoc (Keetha et al. 2023) describes an image by the VLAD of the cells of a network's feature map. Here the cells are
reduced by PCA, and neither all images nor their cells are ever in memory: `partial_fit` learns from one block of images
at a time.

    python anyloc_in_ten_lines.py                         # 400 synthetic images, a network with random weights
    python anyloc_in_ten_lines.py images.npy weights.npz  # (n, h, w, 3) uint8; weights of SqueezeNet 1.1
"""

# sphinx_gallery_thumbnail_path = 'images/anyloc_in_ten_lines-thumbnail.png'

import sys
import time

import numpy as np
from sklearn.decomposition import IncrementalPCA

from sklinvariant import VLAD, BackbonePatches, OnDescriptors
from sklinvariant.datasets import make_textures
from sklinvariant.networks import SqueezeNet11Features

if len(sys.argv) > 1:
    images = np.load(sys.argv[1], mmap_mode="r")
else:
    images = np.stack([make_textures(400, random_state=0)[0]] * 3, axis=-1)
weights = sys.argv[2] if len(sys.argv) > 2 else None
start = time.perf_counter()

network = BackbonePatches(
    SqueezeNet11Features(),
    layer="fire5",
    weights=weights,
    image_size=64,
    bgr=True,
    mean=[0.41, 0.46, 0.48],
    std=1 / 255,
)
blocks = np.array_split(images, max(1, len(images) // 200))  # views of the file
network.fit(blocks[0])
pca = OnDescriptors(IncrementalPCA(32, whiten=True))
for block in blocks[: len(blocks) // 10 + 1]:
    pca.partial_fit(network.transform(block))
vlad = VLAD(16, random_state=0)
for block in blocks:
    vlad.partial_fit(pca.transform(network.transform(block)))
vectors = np.concatenate([vlad.transform(pca.transform(network.transform(block))) for block in blocks])

print(f"{len(images)} images: vectors of shape {vectors.shape} in {time.perf_counter() - start:.0f} s")
similar = np.argsort(vectors[1:] @ vectors[0])[::-1][:3] + 1
print(f"most similar to image 0: {similar.tolist()}")
