"""Tensors of every dtype and layout as rows and bags are read correctly, or refused with a clear error."""

import numpy as np
import pytest
import torch
from examples import BAGS, ESTIMATORS, IMAGES, example, instances
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.hashing import SignHasher
from sklinvariant.metrics import exact_ranking
from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.pooling import AutoPooling

ROWS = sorted(ESTIMATORS.keys() - IMAGES - BAGS - {"HammingNeighbors", "OverclusteringClassifier"})
BAG_NAMES = sorted(BAGS)


def _dtypes(*names):
    return [getattr(torch, name) for name in names if hasattr(torch, name)]


HALF = _dtypes("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
WHOLE = _dtypes("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")


def _quantized(x):
    scale = 0.25
    return torch.quantize_per_tensor(x, scale, 0, torch.qint8)


REFUSED = {
    "complex": lambda x: x.to(torch.complex64),
    "sparse": lambda x: x.to_sparse(),
    "csr": lambda x: x.flatten(1).to_sparse_csr(),
    "meta": lambda x: x.to("meta"),
}
UNUSABLE = _dtypes("bits8", "uint4", "int4", "float4_e2m1fn_x2")
CLEAR = r"[Cc]omplex|real numbers|[Ss]parse|dense|meta device|cannot be computed with|nested"


def _data(name):
    _, X, y = example(name)
    return torch.from_numpy(np.round(np.abs(X) * 4).astype(np.float32)), y


def _model(name):
    return next(instances(name))


def _use(model, X):
    """The result of the first method of a fitted estimator for X."""
    method = next(m for m in ("predict", "transform", "kneighbors", "fit_predict") if hasattr(model, m))
    answer = getattr(model, method)(X)
    return np.asarray(answer.values if isinstance(answer, DescriptorSets) else answer)


@pytest.mark.parametrize("dtype", HALF + WHOLE, ids=str)
@pytest.mark.parametrize("name", ["SignHasher", "SparseAutoencoder", "AutoPooling", "BagOfWords", "FisherVector"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_real_numbers_of_any_dtype(name, dtype):
    X, y = _data(name)
    X = X.clamp(max=7)  # whole numbers that each of the types holds
    expected = _use(_model(name).fit(X, y), X)
    assert_close(_use(_model(name).fit(X.to(dtype), y), X.to(dtype)), expected)


@pytest.mark.parametrize("name", ROWS + BAG_NAMES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_estimator_takes_float8_and_unsigned(name):
    X, y = _data(name)
    X = X.clamp(max=7)
    model = _model(name).fit(X, y)
    expected = _use(model, X)
    for dtype in _dtypes("float8_e4m3fn", "uint16", "uint32", "uint64", "bfloat16"):
        assert_close(_use(model, X.to(dtype)), expected)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ROWS + BAG_NAMES)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_other_tensors_are_refused_in_words(name, kind):
    X, y = _data(name)
    with pytest.raises((TypeError, ValueError), match=CLEAR):
        _model(name).fit(REFUSED[kind](X), y)
    model = _model(name).fit(X, y)
    with pytest.raises((TypeError, ValueError), match=CLEAR):
        _use(model, REFUSED[kind](X))


@pytest.mark.parametrize("dtype", UNUSABLE, ids=str)
@pytest.mark.parametrize("name", ["SignHasher", "BagOfWords"])
def test_types_without_arithmetic_are_named(name, dtype):
    X, y = _data(name)
    empty = torch.empty(X.shape, dtype=dtype)
    with pytest.raises(TypeError, match=rf"{dtype}, which cannot be computed with\. Convert it to torch\.float32"):
        _model(name).fit(empty, y)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
@pytest.mark.parametrize("name", ["SignHasher", "AutoPooling", "BagOfWords"])
def test_quantized_tensors_stand_for_their_values(name):
    X, y = _data(name)
    X = _quantized(X)
    assert_close(_use(_model(name).fit(X, y), X), _use(_model(name).fit(X.dequantize(), y), X.dequantize()))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_bags(layout):
    parts = [torch.arange(2.0 * n).view(n, 2) for n in (3, 1, 4)]
    nested = torch.nested.nested_tensor(parts, layout=layout)
    model = BagOfWords(2, random_state=0)
    assert_close(model.fit_transform(nested), model.fit_transform(parts))
    assert DescriptorSets.from_bags(nested) == DescriptorSets.from_bags(parts)
    with pytest.raises(TypeError, match=r"nested tensor.*list\(tensor\.unbind\(\)\)"):
        SignHasher().fit(nested)
    with pytest.raises(TypeError, match="nested"):
        DescriptorSets(nested, [0, 3, 4, 8])


@pytest.mark.parametrize("name", ["SignHasher", "SparseAutoencoder"])
def test_rows_of_booleans(name):
    X, y = _data(name)
    X = X > 2
    expected = _use(_model(name).fit(X.float(), y), X.float())
    assert_close(_use(_model(name).fit(X, y), X), expected)
    assert_close(_use(_model(name).fit(X.numpy(), y), X.numpy()), expected)


@pytest.mark.parametrize("change", [torch.neg_, torch.Tensor.requires_grad_, torch.nn.Parameter])
def test_views_and_parameters(change):
    X, _ = _data("SignHasher")
    expected = SignHasher().fit_transform(change(X.clone()).detach())
    assert_close(SignHasher().fit_transform(change(X.clone())), expected)


def test_lazily_negated_tensors():
    imaginary = torch.complex(torch.zeros(6, 2), torch.arange(12.0).view(6, 2)).conj().imag
    assert imaginary.is_neg()
    np.testing.assert_array_equal(
        SignHasher().fit_transform(imaginary), SignHasher().fit_transform(imaginary.clone().resolve_neg())
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Sparse CSR")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_rows_either(kind):
    X, _ = _data("SparseAutoencoder")
    bad = REFUSED[kind](X)
    model = SparseAutoencoder(X.shape[1], max_epochs=1, random_state=0).fit(X)
    pooling = AutoPooling(X.shape[1], max_iter=2, random_state=0)
    pooling.fit(X)
    for call in (
        lambda: model.inverse_transform(bad),
        lambda: pooling.inverse_transform(bad),
        lambda: pooling.transform(REFUSED["meta"](X.view(-1, 2, 6))),
        lambda: exact_ranking(bad),
        lambda: DescriptorSets(bad, [0, len(X)]),
        lambda: DescriptorSets.from_bags([bad, bad]),
        lambda: BagOfWords(2).fit([bad, bad]),
    ):
        with pytest.raises((TypeError, ValueError), match=CLEAR):
            call()


def test_float8_bags_are_kept_as_they_are():
    values = torch.arange(12.0).view(6, 2).to(torch.float8_e5m2)
    bags = DescriptorSets(values, [0, 2, 6])
    wide = DescriptorSets(values.float(), [0, 2, 6])
    assert bags.dtype == torch.float8_e5m2
    assert_close(BagOfWords(2, random_state=0).fit_transform(bags), BagOfWords(2, random_state=0).fit_transform(wide))


@pytest.mark.parametrize("dtype", HALF + WHOLE, ids=str)
def test_lists_of_rows_of_any_dtype(dtype):
    X, _ = _data("SignHasher")
    X = X.clamp(max=7)
    expected = SignHasher().fit_transform(X)
    np.testing.assert_array_equal(SignHasher().fit_transform(list(X.to(dtype))), expected)
    codes = (X > 2).to(dtype)
    distances, _ = HammingNeighbors(1).fit(list(codes)).kneighbors(list(codes))
    assert (distances == 0).all()
    distances, _ = HammingNeighbors(1).fit(codes).kneighbors(codes)
    assert (distances == 0).all()


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "bad",
    [
        *REFUSED.values(),
        lambda x: torch.nested.nested_tensor([x, x]),
        lambda x: list(x.to("meta")),
        lambda x: np.full((3, 3), "2020", dtype="M8[D]"),
        lambda x: ["a.png", "b.png"],
        lambda x: DescriptorSets.from_bags([x, x]),
    ],
)
def test_what_is_no_codes(bad):
    codes = torch.eye(5, 16)
    model = HammingNeighbors(1).fit(codes)
    clear = CLEAR + "|holds dates|holds text|a DescriptorSets"
    with pytest.raises((TypeError, ValueError), match=clear):
        HammingNeighbors(1).fit(bad(codes))
    with pytest.raises((TypeError, ValueError), match=clear):
        model.kneighbors(bad(codes))
