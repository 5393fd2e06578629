"""Finite groups of rotations and reflections, and what they do to images and to maps over the group."""

import re

import torch

from sklinvariant.ops import resample


class Group:
    """C_n, the rotations by multiples of 360 / n degrees, or D_n, those and their mirror images.

    Element ``m n + r`` mirrors left and right where m is 1, and then turns counter-clockwise by ``360 r / n`` degrees;
    element 0 changes nothing. Pixels of square images only change places under C1, C2, C4, D1, D2 and D4
    (``is_exact``); under the others values between pixels are interpolated.

    Parameters
    ----------
    name : str
        "C1", "C2", …, "D1", "D2", …; "trivial" is "C1".

    Attributes
    ----------
    order : int
        Number of elements.
    matrices : tensor of shape (order, 3, 3)
        float64, of points as `sklinvariant.transforms.Geometric.matrix` has them.
    products : int64 tensor of shape (order, order)
        ``products[g, h]`` is the element g h, which first does h.
    inverses : int64 tensor of shape (order,)
    needs_squares : bool
        Whether images that are not square would change their shape.

    Raises
    ------
    ValueError
        For a name that is none of these.

    Examples
    --------
    >>> from sklinvariant.networks import Group
    >>> group = Group("D4")
    >>> group.order, group.products[1, 3].item(), group.inverses[1].item()
    (8, 0, 3)
    """

    def __init__(self, name):
        found = re.fullmatch(r"([CD])([1-9]\d*)", "C1" if name == "trivial" else str(name))
        if found is None:
            raise ValueError(f'group must be "trivial", "C4", "D4", "C8", … (C or D and a number), got {name!r}')
        self.name, self.n_rotations = found.group(), int(found.group(2))
        self.order = self.n_rotations * (1 + (found.group(1) == "D"))
        elements = torch.arange(self.order, device="cpu")
        self._turns, self._mirrored = elements % self.n_rotations, elements // self.n_rotations
        # a turn after a mirror is the mirror after the turn back
        sign = 1 - 2 * self._mirrored[:, None]
        self.products = (self._turns[:, None] + sign * self._turns).remainder(self.n_rotations)
        self.products += self.n_rotations * (self._mirrored[:, None] ^ self._mirrored)
        self.inverses = (self.products == 0).int().argmax(1)
        self.matrices = self._matrices()
        self.is_exact = 4 % self.n_rotations == 0
        self.needs_squares = self.n_rotations not in (1, 2)

    @property
    def angles(self):
        """(order,) degrees, counter-clockwise."""
        return 360 * self._turns.double() / self.n_rotations

    @property
    def mirrored(self):
        """(order,) whether an element mirrors before it turns."""
        return self._mirrored.bool()

    def _matrices(self):
        # a whole number of quarters and the rest, so that quarter turns are exact zeros and ones
        quarters = 4 * self._turns // self.n_rotations
        rest = (4 * self._turns % self.n_rotations).double() * (torch.pi / 2 / self.n_rotations)
        cosines = torch.stack([rest.cos(), -rest.sin(), -rest.cos(), rest.sin()], dim=1)
        rows = torch.arange(self.order, device="cpu")
        c, s = cosines[rows, quarters], cosines[rows, (quarters + 3) % 4]  # sin(t) = cos(t - 90°)
        matrices = torch.zeros(self.order, 3, 3, dtype=torch.float64, device="cpu")
        flip = 1.0 - 2 * self._mirrored.double()
        matrices[:, 0, 0], matrices[:, 0, 1] = flip * c, s
        matrices[:, 1, 0], matrices[:, 1, 1] = -flip * s, c
        matrices[:, 2, 2] = 1
        return matrices

    def act(self, images, element):
        """L_g of images (n, c, h, w): each moved by element g, ``(L_g x)(p) = x(g⁻¹ p)``; outside they are 0."""
        return resample(images, self.matrices[element][None])

    def act_on_maps(self, maps, element):
        """L_g of maps over the group (n, c · order, h, w), c varying slowest.

        Pixels are moved and elements permuted: ``(L_g x)(p, u) = x(g⁻¹ p, g⁻¹ u)``.
        """
        return self.act(self.act_on_embedding(maps.unflatten(1, (-1, self.order)), element).flatten(1, 2), element)

    def act_on_embedding(self, embedding, element):
        """L_g of (n, c, order, …), which has no place: ``(L_g x)(u) = x(g⁻¹ u)``."""
        return embedding[:, :, self.products[self.inverses[element]].to(embedding.device)]

    def __repr__(self):
        return f"Group({self.name!r})"
