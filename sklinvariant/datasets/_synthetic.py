"""Two-class data sets of bags of 2-D descriptors, after figure 1 of Katharopoulos et al. 2017."""

import numpy as np
from sklearn.utils import check_random_state

from sklinvariant.bags import DescriptorSets
from sklinvariant.base import RandomState, documented_by


def make_concentric(
    n_samples: int = 200, *, n_descriptors: int = 50, noise: float = 0.1, random_state: RandomState = None
) -> tuple[DescriptorSets, np.ndarray]:
    """Bags whose descriptors lie on an inner disc (class 0) or on a ring around it (class 1).

    Parameters
    ----------
    n_samples : int, default=200
        Number of bags.
    n_descriptors : int, default=50
        Descriptors in each bag.
    noise : float, default=0.1
        Share of descriptors whose position does not depend on the class.
    random_state : int, RandomState or None, default=None
        Seed of the random positions.

    Returns
    -------
    (DescriptorSets, ndarray of shape (n_samples,))

    Examples
    --------
    >>> from sklinvariant.datasets import make_concentric
    >>> make_concentric(10, random_state=0)[0].shape
    (10, 50, 2)
    """
    rng = check_random_state(random_state)
    y = rng.permutation(np.arange(n_samples) % 2)
    shape = (n_samples, n_descriptors)
    inner, outer = np.sqrt(rng.uniform(0, 1, shape)), np.sqrt(rng.uniform(1, 4, shape))
    anywhere = 2 * np.sqrt(rng.uniform(0, 1, shape))
    radius = np.where(y[:, None] == 0, inner, outer)
    radius = np.where(rng.uniform(size=shape) < noise, anywhere, radius)
    angle = rng.uniform(0, 2 * np.pi, shape)
    return DescriptorSets.from_bags(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)), y


@documented_by(make_concentric)
def make_checkers(
    n_samples: int = 200, *, n_descriptors: int = 50, noise: float = 0.1, random_state: RandomState = None
) -> tuple[DescriptorSets, np.ndarray]:
    """Bags whose descriptors lie on the black (class 0) or the white squares (class 1) of a 2 x 2 checkerboard.

    Returns
    -------
    (DescriptorSets, ndarray of shape (n_samples,))
    """
    rng = check_random_state(random_state)
    y = rng.permutation(np.arange(n_samples) % 2)
    points = rng.uniform(-1, 1, (n_samples, n_descriptors, 2))
    black = points[..., 0] * points[..., 1] > 0
    wrong = (black != (y[:, None] == 0)) & (rng.uniform(size=black.shape) >= noise)
    points[..., 0] = np.where(wrong, -points[..., 0], points[..., 0])
    return DescriptorSets.from_bags(points), y
