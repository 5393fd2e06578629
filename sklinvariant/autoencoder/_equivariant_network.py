"""The network of the equivariant autoencoder, and the pooling of its embedding to invariant features.

After Kuzminykh, Polykovskiy & Zhebrak (2018). The abstract of the paper names group convolutions, embeddings that
change predictably, Gram pooling and equivariant attention. The details are our interpretation.

E (n, k, order) is the embedding, with ``E(g x)[u] = E(x)[g⁻¹ u]``. p (n, order) is the pose: weights that sum to 1 and
are permuted in the same way, ``p(g x)[u] = p(x)[g⁻¹ u]``.
"""

import math
from typing import Any

import torch
from torch import nn

from sklinvariant.networks import (
    FLOAT32,
    Group,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupConvTranspose2d,
    GroupPool2d,
    GroupUpsample2d,
    LiftingConv2d,
    ProjectingConv2d,
)


def count_features(pooling: str | None, k: int, order: int) -> int:
    """Number of features of a pooling of an embedding (k, order)."""
    return {"gram": k * (k + 1) // 2, "mean": k}.get(pooling or "none", k * order)


def align(embedding: torch.Tensor, pose: torch.Tensor, group: Group) -> torch.Tensor:
    """The embedding transformed back by its pose, ``Σ_g p_g E[g u]``: (n, k, order), which is invariant."""
    return _weighted_sum(embedding, pose, group.products)


def place(aligned: torch.Tensor, pose: torch.Tensor, group: Group) -> torch.Tensor:
    """Transform an aligned embedding into a pose, ``Σ_g p_g A[g⁻¹ u]``: the inverse of `align` if p is one-hot."""
    return _weighted_sum(aligned, pose, group.products[group.inverses])


def _weighted_sum(embedding, pose, index):
    """``Σ_g p_g E[index[g, u]]``."""
    return (pose[:, None, :, None] * embedding[:, :, index.to(embedding.device)]).sum(2)  # (n, k, g, u) -> (n, k, u)


def gram_pool(embedding: torch.Tensor) -> torch.Tensor:
    """Products of channels summed over the group, ``1 / order Σ_u E_i[u] E_j[u]``: (n, k, order) -> (n, k (k + 1) / 2).

    The features are the upper triangle of the matrix. Off-diagonal entries are multiplied by √2, so that distances
    equal those of the matrices.
    """
    k, order = embedding.shape[1:]
    matrix = embedding @ embedding.mT / order
    row, column = torch.triu_indices(k, k, device=embedding.device)
    products = matrix[:, row, column]
    return torch.where(row == column, products, products * 2**0.5)


class _Layers:
    """Creates encoders and decoders for one group, with weights from one generator."""

    def __init__(self, group, generator):
        self.group, self.generator = group, generator

    def _level(self, convolution, n_in, n_out, kernel_size=3, padding=0):
        layer = self._convolution(convolution, n_in, n_out, kernel_size, padding=padding, bias=False)
        return [layer, GroupBatchNorm2d(n_out, self.group, **FLOAT32), nn.ReLU()]

    def _convolution(self, convolution, n_in, n_out, kernel_size, **settings):
        return convolution(n_in, n_out, kernel_size, self.group, generator=self.generator, **settings, **FLOAT32)

    def encoder(self, n_in, widths, n_out, sizes):
        """Images -> n_out channels at a single position; each level but the last halves the size."""
        layers: list[nn.Module] = []
        convolution: type[nn.Module] = LiftingConv2d
        for width, size in zip(widths, sizes[:-1], strict=True):
            layers += [*self._level(convolution, n_in, width, padding=1), GroupPool2d.halving(size)]
            n_in, convolution = width, GroupConv2d
        layers += self._level(GroupConv2d, n_in, 2 * n_in, sizes[-1])
        return nn.Sequential(*layers, self._convolution(GroupConv2d, 2 * n_in, n_out, 1, bias=False))

    def decoder(self, n_in, widths, n_out, sizes):
        """The reverse: channels at a single position -> images."""
        layers = self._level(GroupConvTranspose2d, n_in, widths[0], sizes[0])
        for width, narrower, size in zip(widths, [*widths[1:], widths[-1]], sizes[1:], strict=True):
            layers += [GroupUpsample2d(size), *self._level(GroupConv2d, width, narrower, padding=1)]
        return nn.Sequential(*layers, self._convolution(ProjectingConv2d, widths[-1], n_out, 3, padding=1))


class EquivariantAutoencoderNetwork(nn.Module):
    """Encoder, pooling, pose and decoder for images of one size.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of the images.
    group : str or Group
    pooling : {"gram", "attention", "mean", None}
    latent_channels, width, depth : int
        Channels k of the embedding; channels of the first level, doubled at each level; number of levels, each of which
        halves the size.
    generator : torch.Generator
        Draws all weights.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        group: str | Group,
        pooling: str | None,
        latent_channels: int,
        width: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.group = Group(group) if isinstance(group, str) else group
        self.pooling, self.latent_channels = pooling, latent_channels
        sizes = [tuple(shape[1:])]
        for _ in range(depth):
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        widths = [width * 2**level for level in range(depth)]
        # of the largest layer of an image; deeper layers are smaller
        self.n_values = max(shape[0], width * self.group.order) * math.prod(shape[1:])
        build = _Layers(self.group, generator)
        # the last channel is the pose
        self.encoder = build.encoder(shape[0], widths, latent_channels + 1, sizes)
        kept_apart = pooling in ("gram", "mean")  # features without a group axis; the decoder gets them at one element
        n_placed = count_features(pooling, latent_channels, self.group.order) if kept_apart else latent_channels
        self.decoder = build.decoder(n_placed, widths[::-1], shape[0], sizes[::-1])
        # buffers, because torch.export of torch 2.6 warns of other tensors used in forward
        self.register_buffer("_products", self.group.products, persistent=False)
        self.register_buffer("_products_of_inverses", self.group.products[self.group.inverses], persistent=False)

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, c, h, w) -> embedding (n, k, order) and pose (n, order)."""
        embedding, scores = self.embed(images)
        return embedding, scores.softmax(1)

    def embed(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, c, h, w) -> embedding (n, k, order) and the scores (n, order) of the poses, before the softmax."""
        maps = self.encoder(images).unflatten(1, (-1, self.group.order)).flatten(2)
        return maps[:, :-1], maps[:, -1]

    def features(self, embedding: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """Features (n, `count_features`), invariant unless pooling is None."""
        if self.pooling == "gram":
            return gram_pool(embedding)
        if self.pooling == "mean":
            return embedding.mean(2)
        if self.pooling == "attention":
            embedding = _weighted_sum(embedding, pose, self._products)
        return embedding.flatten(1)

    def decode(self, features: torch.Tensor, pose: Any) -> torch.Tensor:
        """Images (n, c, h, w) from features and a pose (n, order), which is not used without pooling."""
        if self.pooling in ("gram", "mean"):
            placed = features[:, :, None] * pose[:, None]
        else:
            placed = features.unflatten(1, (-1, self.group.order))
            if self.pooling == "attention":
                placed = _weighted_sum(placed, pose, self._products_of_inverses)
        return self.decoder(placed.flatten(1)[:, :, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, c, h, w), reconstructed in their most probable poses."""
        embedding, pose = self.encode(images)
        sure = nn.functional.one_hot(pose.argmax(1), self.group.order).to(pose)
        return self.decode(self.features(embedding, pose), sure)

    @torch.no_grad()
    def recentre(self, h: int) -> None:
        """Make h the canonical pose: pose g becomes g h⁻¹, and reconstructions stay the same."""
        products = self.group.products
        weight = self.encoder[-1].weight[-1]  # the filter ψ of the pose: ψ(v) becomes ψ(h⁻¹ v)
        weight.copy_(weight[:, products[self.group.inverses[h]].to(weight.device)])
        if self.pooling in ("gram", "mean"):  # the decoder gets features at g h⁻¹: ψ(v) becomes ψ(v h)
            weight = self.decoder[0].weight
            weight.copy_(weight[:, :, products[:, h].to(weight.device)])
