"""Finite groups of rotations and reflections and their action on images and on maps over the group."""

import re

import torch

from sklinvariant._docstrings import documented_by
from sklinvariant.ops import resample


def rotation_matrices(turns: torch.Tensor, n: int) -> torch.Tensor:
    """Matrices of rotations by multiples of 360 / n degrees, counter-clockwise.

    Parameters
    ----------
    turns : int64 tensor of shape (m,)
        The multiples.
    n : int
        Number of rotations in a full turn.

    Returns
    -------
    tensor of shape (m, 3, 3)
        Float64.
    """
    # quarter turns and the remaining angle, so that quarter turns have exact zeros and ones
    turns = turns.cpu() % n
    quarters = 4 * turns // n
    rest = (4 * turns % n).double() * (torch.pi / 2 / n)
    cosines = torch.stack([rest.cos(), -rest.sin(), -rest.cos(), rest.sin()], dim=1)
    rows = torch.arange(len(turns), device="cpu")
    c, s = cosines[rows, quarters], cosines[rows, (quarters + 3) % 4]  # sin(t) = cos(t - 90°)
    matrices = torch.zeros(len(turns), 3, 3, dtype=torch.float64, device="cpu")
    matrices[:, 0, 0], matrices[:, 0, 1] = c, s
    matrices[:, 1, 0], matrices[:, 1, 1] = -s, c
    matrices[:, 2, 2] = 1
    return matrices


class Group:
    """C_n, the rotations by multiples of 360 / n degrees, or D_n, which also contains the reflections.

    Element :math:`m n + r` swaps left and right if m is 1, and then rotates by :math:`360 r / n` degrees,
    counter-clockwise. Element 0 is the identity. C1, C2, C4, D1, D2 and D4 permute the pixels of square images
    (``is_exact``); the other groups interpolate between pixels.

    Parameters
    ----------
    name : str
        "C1", "C2", …, "D1", "D2", …; "trivial" stands for "C1".

    Attributes
    ----------
    order : int
        Number of elements.
    matrices : tensor of shape (order, 3, 3)
        float64 matrices in the coordinates of `sklinvariant.transforms.Geometric.matrix`.
    products : int64 tensor of shape (order, order)
        ``products[g, h]`` is the element g h, which applies h first.
    inverses : int64 tensor of shape (order,)
        ``inverses[g]`` is the inverse of g.
    needs_squares : bool
        Whether the group is only defined for square images, because others would change their shape.

    Raises
    ------
    ValueError
        If the name is none of these.

    Examples
    --------
    >>> from sklinvariant.networks import Group
    >>> group = Group("D4")
    >>> group.order, group.products[1, 3].item(), group.inverses[1].item()
    (8, 0, 3)
    """

    def __init__(self, name: str) -> None:
        found = re.fullmatch(r"([CD])([1-9]\d*)", "C1" if name == "trivial" else str(name))
        if found is None:
            raise ValueError(f'group must be "trivial", or C or D and a number, such as "C4" or "D4", got {name!r}')
        self.name, self.n_rotations = found.group(), int(found.group(2))
        self.order = self.n_rotations * (1 + (found.group(1) == "D"))
        elements = torch.arange(self.order, device="cpu")
        self._turns, self._mirrored = elements % self.n_rotations, elements // self.n_rotations
        # a rotation after a reflection equals the reflection after the inverse rotation
        sign = 1 - 2 * self._mirrored[:, None]
        self.products = (self._turns[:, None] + sign * self._turns).remainder(self.n_rotations)
        self.products += self.n_rotations * (self._mirrored[:, None] ^ self._mirrored)
        self.inverses = (self.products == 0).int().argmax(1)
        self.matrices = rotation_matrices(self._turns, self.n_rotations)
        self.matrices[:, :2, 0] *= 1.0 - 2 * self._mirrored[:, None].double()
        self.is_exact = 4 % self.n_rotations == 0
        self.needs_squares = self.n_rotations not in (1, 2)

    @property
    def angles(self) -> torch.Tensor:
        """Angles of the rotations (order,) in degrees, counter-clockwise."""
        return 360 * self._turns.double() / self.n_rotations

    @property
    def mirrored(self) -> torch.Tensor:
        """Whether each element reflects before it rotates: (order,) bool."""
        return self._mirrored.bool()

    def act(self, images: torch.Tensor, element: int) -> torch.Tensor:
        """Transform images, :math:`(L_g x)(p) = x(g^{-1} p)`.

        Parameters
        ----------
        images : tensor of shape (n, c, h, w)
            Images, which are 0 outside.
        element : int
            Index of the element g.

        Returns
        -------
        tensor of shape (n, c, h, w)
        """
        return resample(images, self.matrices[element][None])

    @documented_by(act)
    def act_on_maps(self, maps: torch.Tensor, element: int) -> torch.Tensor:
        """Transform maps over the group, both their pixels and elements: :math:`(L_g x)(p, u) = x(g^{-1} p, g^{-1} u)`.

        Parameters
        ----------
        maps : tensor of shape (n, c · order, h, w)
            Maps, of which channel ``c * order + u`` belongs to element u.

        Returns
        -------
        tensor of shape (n, c · order, h, w)
        """
        return self.act(self.act_on_embedding(maps.unflatten(1, (-1, self.order)), element).flatten(1, 2), element)

    @documented_by(act)
    def act_on_embedding(self, embedding: torch.Tensor, element: int) -> torch.Tensor:
        """Transform embeddings, which have no pixels: :math:`(L_g x)(u) = x(g^{-1} u)`.

        Parameters
        ----------
        embedding : tensor of shape (n, c, order, ...)
            Embeddings, with a value for each element.

        Returns
        -------
        tensor of shape (n, c, order, ...)
        """
        return embedding[:, :, self.products[self.inverses[element]].to(embedding.device)]

    def __repr__(self) -> str:
        return f"Group({self.name!r})"
