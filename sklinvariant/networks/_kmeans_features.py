"""A feature map learned without labels or gradients: how near each patch is to each of k typical patches.

Coates, Ng, Lee 2011, "An analysis of single-layer networks in unsupervised feature learning": patches are brought to
one contrast, whitened, and encoded by the "triangle" activation ``max(0, mean distance - distance)``.
"""

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, unfold

from sklinvariant.kernels import fit_kmeans


def normalize_contrast(patches, eps):
    """(…, p) patches to mean 0 and variance 1, flat ones nearly to 0; ``eps`` is added to the variance."""
    patches = patches - patches.mean(-1, keepdim=True)
    return patches / (patches.square().mean(-1, keepdim=True) + eps).sqrt()


class KMeansFeatures(nn.Module):
    """Images (n, c, h, w) in 0-1 to the map (n, k, h', w') of triangle activations, averaged over ``pool`` × ``pool``.

    It is made by `learn`, or filled by ``load_state_dict``.
    """

    def __init__(self, n_channels=3, n_features=128, *, patch_size=6, stride=3, pool=3, eps=0.01):
        super().__init__()
        self.patch_size, self.stride, self.pool, self.eps = patch_size, stride, pool, eps
        size = n_channels * patch_size**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whitening", torch.eye(size))
        self.register_buffer("centres", torch.zeros(n_features, size))

    def patches(self, images):
        """(n, L, p) patches of one contrast."""
        return normalize_contrast(unfold(images, self.patch_size, stride=self.stride).mT, self.eps)

    @torch.no_grad()
    def learn(self, images, *, n_patches=50_000, max_iter=20, generator):
        """Whitening and typical patches from random patches of images (n, c, h, w)."""
        each = -(-n_patches // len(images))
        chosen = []
        for image in images.split(1):
            patches = self.patches(image)[0]
            chosen.append(patches[torch.randperm(len(patches), generator=generator)[:each]])
        rows = torch.cat(chosen).double()
        self.mean.copy_(rows.mean(0))
        rows = rows - rows.mean(0)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        # directions below a hundredth of the mean variance are noise, and are not blown up
        whitening = (vectors / (values + 0.01 * values.mean()).sqrt()) @ vectors.T
        self.whitening.copy_(whitening)
        rows = (rows @ whitening).float()
        k = len(self.centres)
        if len(rows) < k:
            raise ValueError(f"{len(rows)} patches are too few for {k} features")
        centres, _ = fit_kmeans(rows, rows.new_ones(len(rows)), k, max_iter=max_iter, tol=1e-4, generator=generator)
        self.centres.copy_(centres)
        return self

    def forward(self, images):
        n, _, h, w = images.shape
        rows = (self.patches(images) - self.mean) @ self.whitening
        products = rows @ self.centres.T
        squares = rows.square().sum(-1, keepdim=True) + self.centres.square().sum(1)
        distances = torch.add(squares, products, alpha=-2).clamp_(min=0).sqrt_()
        triangle = (distances.mean(-1, keepdim=True) - distances).clamp_(min=0)
        rows_, columns = ((length - self.patch_size) // self.stride + 1 for length in (h, w))
        maps = triangle.mT.reshape(n, -1, rows_, columns)
        return avg_pool2d(maps, min(self.pool, rows_, columns))
