"""OnDescriptors: the transformer on the descriptors as rows."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords
from sklinvariant.feature_extraction import DensePatches, OnDescriptors


def test_on_descriptors_is_the_transformer_on_rows(ragged):
    bags = OnDescriptors(PCA(2)).fit_transform(ragged)
    assert bags.shape == (9, None, 2)
    assert_close(bags.values, PCA(2).fit_transform(np.concatenate(ragged)))
    assert isinstance(
        OnDescriptors(PCA(2)).fit_transform(DescriptorSets.from_bags(ragged).to("cpu")).values, torch.Tensor
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 4)])
def test_on_descriptors_computes_in_one_precision(dtype, shape):
    X = np.random.RandomState(0).randint(0, 9, shape).astype(dtype)
    expected = np.float64 if dtype == np.float64 else np.float32
    assert OnDescriptors(StandardScaler()).fit_transform(X).dtype == expected
    bfloat16 = torch.as_tensor(X.astype(np.float32)).to(torch.bfloat16)
    assert OnDescriptors(StandardScaler()).fit_transform(bfloat16).dtype == torch.float32


def test_all_in_one_pipeline():
    pipeline = make_pipeline(
        DensePatches(4), OnDescriptors(PCA(3, whiten=True)), OnDescriptors(Normalizer()), BagOfWords(4, random_state=0)
    ).set_output(transform="pandas")
    frame = pipeline.fit_transform(np.random.RandomState(0).rand(3, 12, 10, 2))
    assert list(frame.columns) == list(pipeline.get_feature_names_out()) == [f"bagofwords{i}" for i in range(4)]
