"""VLAD: the mean residual of a bag's descriptors to each codeword (Jégou et al. 2010)."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from sklinvariant.aggregation._bag_of_words import CodebookAggregator
from sklinvariant.kernels import count_codewords, nearest_codewords, sum_by_codeword
from sklinvariant.networks import SoftVLAD, normalize_vlad


class VLAD(CodebookAggregator):
    """Vector of locally aggregated descriptors: where a bag's descriptors lie around each codeword.

    ``R_k = (1/m) Σ_n a_nk (f_n - C_k)``, a_nk being 1 for the nearest codeword (the original) or the soft share
    of `BagOfWords` (eq. 9 of [2]_ with Σ = 1); flattened to ``n_codewords * d`` and normalised.

    Parameters
    ----------
    n_codewords : int, default=64
        Size of the codebook; the representation has ``n_codewords * d`` features.
    assignment : {"hard", "soft"}, default="hard"
        One codeword a descriptor, or a share for each.
    normalization : {"l2", "power", "intra"} or None, default="power"
        "l2" divides by the norm; "power" takes signed square roots first; "intra" normalises the residual of each
        codeword first (Arandjelović & Zisserman 2013). None gives the mean residuals in data units.
    gamma : "scale" or float, default="scale"
        Sharpness of the soft assignment; see `BagOfWords`.
    codebook : array of shape (k, d), clusterer, mixture or None, default=None
        Codewords to use, or an estimator that has ``cluster_centers_`` or ``means_`` (fitted, or to be fitted).
    max_iter : int, default=100
        Most iterations of k-means.
    tol : float, default=1e-4
        k-means stops when the codewords move less than this times the variance of the descriptors.
    subsample : int or None, default=200_000
        Most descriptors that the codebook is learned from; None takes all.
    descriptor_dim : int or None, default=None
        Cuts flat rows ``(n, m * d)`` into m descriptors of this many features; None takes a row for one descriptor.
    chunk_size : int or None, default=None
        Descriptors at a time; None fits the chunk to the cache. Bounds the memory, does not change the result.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.
    random_state : int, RandomState or None, default=None
        Seeds the start of k-means.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_codewords, d)
        The codewords.
    gamma_ : float
        The γ that is used when the assignment is soft.
    n_iter_ : int
        Iterations of k-means.

    References
    ----------
    .. [1] Jégou et al., "Aggregating local descriptors into a compact image representation", 2010.
    .. [2] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import VLAD
    >>> bags = [np.array([[0.0, 1.0], [0.0, 3.0]]), np.array([[9.0, 9.0]])]
    >>> VLAD(2, codebook=[[0, 0], [9, 9]], normalization=None).fit_transform(bags)
    array([[0., 2., 0., 0.],
           [0., 0., 0., 0.]])
    """

    _parameter_constraints = {
        **CodebookAggregator._parameter_constraints,
        "normalization": [StrOptions({"l2", "power", "intra"}), None],
    }

    def __init__(
        self,
        n_codewords=64,
        *,
        assignment="hard",
        normalization="power",
        gamma="scale",
        codebook=None,
        max_iter=100,
        tol=1e-4,
        subsample=200_000,
        descriptor_dim=None,
        chunk_size=None,
        device="auto",
        random_state=None,
    ):
        self.n_codewords = n_codewords
        self.assignment = assignment
        self.normalization = normalization
        self.gamma = gamma
        self.codebook = codebook
        self.max_iter = max_iter
        self.tol = tol
        self.subsample = subsample
        self.descriptor_dim = descriptor_dim
        self.chunk_size = chunk_size
        self.device = device
        self.random_state = random_state

    def _encode(self, bags, dtype, device):
        # soft and hard share the encoder's units, so that residuals have a size near 1
        encoder = SoftVLAD(
            self.codebook_,
            None,
            self.gamma_,
            self._units,
            dtype=dtype,
            normalization=self.normalization,
            chunk_size=self.chunk_size,
        ).to(device)
        if self.assignment == "soft":
            return encoder(bags)
        codebook = torch.as_tensor(self.codebook_, dtype=dtype, device=device)
        labels = nearest_codewords(bags.values, codebook, chunk_size=self.chunk_size)
        sums = sum_by_codeword(
            bags.values, labels, bags.offsets, len(codebook), encoder.codebook, encoder.shift, encoder.scale
        )
        counts = count_codewords(labels, bags.offsets, len(codebook), dtype)
        sizes = torch.as_tensor(np.diff(bags.offsets), dtype=dtype, device=device).clamp(min=1)
        residuals = (sums - counts[:, :, None] * encoder.codebook) / sizes[:, None, None]
        return normalize_vlad(residuals, self.normalization, encoder.scale)

    @property
    def _n_features_out(self):
        return self.codebook_.size
