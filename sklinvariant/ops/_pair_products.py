"""Second moments of pairs of consecutive rows."""

import torch

from sklinvariant._docstrings import documented_by
from sklinvariant._settings import in_own_precision
from sklinvariant.ops._kernels import has_kernel


@in_own_precision
def pair_products(
    rows: torch.Tensor, follows: torch.Tensor, scale: float = 1.0, with_first: bool = False
) -> tuple[torch.Tensor, ...]:
    r"""Sums of products over the pairs of consecutive rows.

    For pairs of rows y and y', the sums are

    .. math:: \sum (y^T y + y'^T y'), \qquad \sum (y - y')^T (y - y'), \qquad \sum y^T y

    Differences are taken before the products, so that no precision is lost if the rows of a pair are nearly equal.

    Parameters
    ----------
    rows : tensor of shape (n, d)
        Rows, such as frames in temporal order.
    follows : bool tensor of shape (n - 1,)
        Whether rows i and i + 1 are a pair.
    scale : float, default=1.0
        What the rows are divided by before the products.
    with_first : bool, default=False
        Whether to return the third sum.

    Returns
    -------
    tuple of two or three tensors of shape (d, d)

    Examples
    --------
    >>> import torch
    >>> from sklinvariant.ops import pair_products
    >>> products, differences = pair_products(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([True, False]))
    >>> products.item(), differences.item()
    (10.0, 4.0)
    """
    if len(follows) and has_kernel(rows, dtypes=(torch.float32,)):
        from sklinvariant.ops.gpu._pair_products import pair_products as kernel

        return kernel(rows, follows, scale, with_first)
    x = rows / scale
    first, second = x[:-1][follows], x[1:][follows]
    roles = pairs_of_rows(follows)[: len(x)].to(x)
    paired = roles > 0
    parts = [x[paired] * roles[paired].sqrt()[:, None], first - second]
    return tuple(map(gram, [*parts, first] if with_first else parts))


@documented_by(pair_products)
def pairs_of_rows(follows: torch.Tensor) -> torch.Tensor:
    """The number of pairs of consecutive rows that each row belongs to.

    Returns
    -------
    tensor of shape (n,)
        0, 1 or 2. It is 2 for a row that is first in one pair and second in another.
    """
    roles = torch.zeros(len(follows) + 1, device=follows.device)
    roles[:-1] += follows
    roles[1:] += follows
    return roles


def gram(x: torch.Tensor) -> torch.Tensor:
    """The products :math:`x^T x` of rows x.

    On a CPU numpy takes half the time of torch, because it computes one triangle.

    Parameters
    ----------
    x : tensor of shape (n, d)
        The rows.

    Returns
    -------
    tensor of shape (d, d)
    """
    if x.device.type == "cpu":
        return torch.from_numpy(x.numpy().T @ x.numpy())
    return x.T @ x
