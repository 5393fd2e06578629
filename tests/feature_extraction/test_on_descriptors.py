"""OnDescriptors: the transformer on the descriptors as rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, IncrementalPCA
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


def test_partial_fit_is_that_of_the_transformer(ragged):
    model, scaler = OnDescriptors(StandardScaler()), StandardScaler()
    for part in (ragged[:2], ragged[2:5], [np.empty((0, 4))], ragged[5:]):
        model.partial_fit(part)
    scaler.fit(np.concatenate(ragged))
    assert_close(model.transform(ragged).values, scaler.transform(np.concatenate(ragged)))
    assert model.n_features_in_ == 4
    assert not hasattr(OnDescriptors(PCA(2)), "partial_fit")


def test_an_error_leaves_the_transformer_as_it_was(ragged):
    model = OnDescriptors(IncrementalPCA(3)).partial_fit(ragged)
    before = model.transform(ragged).values
    with pytest.raises(ValueError, match="descriptors of 2 features"):
        model.partial_fit(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="bag 0 contains NaN"):
        model.partial_fit(np.full((2, 3, 4), np.nan))
    with pytest.raises(ValueError, match="n_components"):
        OnDescriptors(IncrementalPCA(3)).partial_fit(ragged[1][None, :2])  # fewer descriptors than components
    assert_close(model.transform(ragged).values, before)


def test_a_stream_of_bags(ragged):
    expected = OnDescriptors(PCA(2)).fit(ragged).transform(ragged).values
    assert_close(OnDescriptors(PCA(2)).fit(iter([ragged[:4], ragged[4:]])).transform(ragged).values, expected)
    sampled = OnDescriptors(StandardScaler(), subsample=20, random_state=0).fit(iter([ragged[:4], ragged[4:]]))
    assert sampled.estimator_.n_samples_seen_ == 20
    with pytest.raises(ValueError, match="subsample=None would keep all"):
        OnDescriptors(PCA(2), subsample=None).fit(iter([ragged]))


@pytest.mark.slow
def test_the_example_of_a_stream_runs(tmp_path):
    """AnyLoc in ten lines, with few images in a memory-mapped file."""
    script = Path(__file__).parents[2] / "docs" / "examples" / "photographs" / "anyloc_in_ten_lines.py"
    if not script.exists():
        pytest.skip("the examples are not part of the package")
    np.save(tmp_path / "images.npy", np.random.RandomState(0).randint(0, 256, (250, 32, 32, 3), dtype=np.uint8))
    command = [sys.executable, str(script), str(tmp_path / "images.npy")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "250 images: vectors of shape (250, 512)" in result.stdout
