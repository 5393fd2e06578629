"""Second moments of pairs of consecutive rows."""

import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.ops._kernels import has_kernel


@in_own_precision
def pair_products(
    rows: torch.Tensor, follows: torch.Tensor, scale: float = 1.0, with_first: bool = False
) -> tuple[torch.Tensor, ...]:
    r"""Sums of products over the pairs of consecutive rows (n, d): (d, d) each.

    For pairs of rows y and y', the sums are

    .. math:: \sum (y^T y + y'^T y'), \qquad \sum (y - y')^T (y - y'), \qquad \sum y^T y

    the last one only if ``with_first``.

    Rows i and i + 1 are a pair if ``follows[i]``, (n - 1,) bool. They are divided by ``scale`` first. Differences are
    taken before the products, so that no precision is lost if the rows of a pair are nearly equal.
    """
    if len(follows) and has_kernel(rows, dtypes=(torch.float32,)):
        from sklinvariant.ops.gpu._pair_products import pair_products as kernel

        return kernel(rows, follows, scale, with_first)
    x = rows / scale
    first, second = x[:-1][follows], x[1:][follows]
    parts = [x * pairs_of_rows(follows)[: len(x)].to(x).sqrt()[:, None], first - second]
    return tuple(map(gram, [*parts, first] if with_first else parts))


def pairs_of_rows(follows: torch.Tensor) -> torch.Tensor:
    """The number of pairs of each row (n,): 2 for a row that is first in one pair and second in another."""
    roles = torch.zeros(len(follows) + 1, device=follows.device)
    roles[:-1] += follows
    roles[1:] += follows
    return roles


def gram(x: torch.Tensor) -> torch.Tensor:
    """The products :math:`x^T x` (d, d) of rows x (n, d).

    On a CPU numpy takes half the time of torch, because it computes one triangle.
    """
    if x.device.type == "cpu":
        return torch.from_numpy(x.numpy().T @ x.numpy())
    return x.T @ x
