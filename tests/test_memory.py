"""Fits and answers to files that are four times as large as the memory that the process may still allocate."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sklinvariant

D = 64
ROWS = 4 * 128 * 2**20 // (4 * D)  # 512 MB of float32, more than the 256 MB that `Blocks.held` keeps in memory
ALLOWANCE = 128 * 2**20

# a limit of private memory; pages of a memory-mapped file are shared, and do not count
SCRIPT = """
import resource, sys
import numpy as np
import sklinvariant
import torch
from sklinvariant import *
from sklinvariant import transforms
from sklearn.cluster import MiniBatchKMeans
from torch import nn

rows = np.load(sys.argv[1], mmap_mode="r")
model = eval(sys.argv[2])
{first}  # loads all libraries
with open("/proc/self/status") as status:
    data = next(int(line.split()[1]) for line in status if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + int(sys.argv[3]), -1))
{call}
print("fitted", model.n_features_in_)
"""
FIRST = "model.fit(rows[:2000])"
WHOLE = "model.fit(rows)"
PARTS = "for part in np.array_split(rows, 16): model.partial_fit(part)"
STREAM = "model.fit(part for part in np.array_split(rows, 16))"
TRANSFORM = "model.transform(rows)"
BAGS = "model.fit(DescriptorSets(rows, np.arange(0, len(rows) + 1, 64)))"
BAGS_IN_PARTS = "for part in np.array_split(rows.reshape(-1, 64, rows.shape[1]), 16): model.partial_fit(part)"
SMALL = "subsample=50_000, max_iter=3, random_state=0"
EPOCH = "max_epochs=1, batch_size=4096, random_state=0"
LABELLED_BAGS = "model.fit(DescriptorSets(rows, np.arange(0, len(rows) + 1, 512)), np.arange(len(rows) // 512) % 2)"
FIRST_LABELLED = "model.fit(rows[:2000].reshape(100, 20, -1), np.arange(100) % 2)"
NETWORK = "nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())"
CLUSTERER = (
    f"IICClusterer(4, network={NETWORK}, init='random', n_heads=1, max_epochs=1, batch_size=200, random_state=0)"
)
IMAGES = "model.fit(rows.reshape(-1, 64, 64))"
FIRST_IMAGES = "model.fit(rows[: 64 * 500].reshape(-1, 64, 64))"
IMAGES_IN_PARTS = "for part in np.array_split(rows.reshape(-1, 64, 64), 16): model.partial_fit(part)"
MAPS = "rows.reshape(-1, 64, 64, 64)"  # large images of many channels, which a small network reads fast
FIRST_MAPS = "model.fit(rows[:16384].reshape(-1, 64, 64, 64))"
FIT_MAPS = f"model.fit({MAPS})"
BYTES = "rows.view(np.uint8).reshape(-1, 64, 64, 64)"
FIRST_BYTES = f"model.fit({BYTES}[:20])"
FIT_BYTES = f"model.fit({BYTES}[:2048])"  # as floats they would be four times as large as the memory
AUTOENCODER = "EquivariantAutoencoder(2, group='C2', width=1, max_epochs=1, batch_size=2)"
ROTATION = "CanonicalRotation(4, latent_channels=2, width=1, depth=2, max_epochs=1, batch_size=1)"
SEGMENTER = "IICSegmenter(2, n_heads=1, n_overclusters=0, half_window=0, width=2, max_epochs=1, init='random')"
FLIPS = "pairs='transform', transforms=transforms.Flip(), batch_size=8"
OF_BYTES = CLUSTERER.replace("Conv2d(1,", "Conv2d(64,").replace("batch_size=200", FLIPS)
LARGE = "rows.reshape(1, 1024, -1, 64)"  # one image
FIRST_LARGE = "model.fit(rows[:16384].reshape(1, 128, -1, 64))"
FILTERS = "ConvolutionalFeatures(MiniBatchKMeans(8, n_init=1, random_state=0), patch_size=6, random_state=0)"
CASES = {
    "PCAHasher(16), in parts": ("PCAHasher(16)", PARTS),
    "PCAHasher(16)": ("PCAHasher(16)", WHOLE),
    "ITQHasher(16), a stream": ("ITQHasher(16, random_state=0)", STREAM),
    "VLAD(8)": (f"VLAD(8, {SMALL})", BAGS),
    "VLAD(8), in parts": (f"VLAD(8, {SMALL})", BAGS_IN_PARTS),
    "FisherVector(4), a stream": (f"FisherVector(4, {SMALL})", STREAM),
    "SlowFeatures(4)": ("SlowFeatures(4)", WHOLE),
    "SlowFeatures(4), a stream": ("SlowFeatures(4)", STREAM),
    "AutoPooling(4), in parts": ("AutoPooling(4, max_iter=5, random_state=0)", PARTS),
    "AutoPooling(4), a stream": ("AutoPooling(4, max_iter=5, random_state=0)", STREAM),
    "RBMHasher(8)": (f"RBMHasher(8, {EPOCH})", WHOLE),
    "NeighborHasher(8)": ("NeighborHasher(8, max_epochs=1, batch_size=512, random_state=0)", WHOLE),
    "SparseAutoencoder(8)": (f"SparseAutoencoder(8, {EPOCH})", WHOLE),
    "LearnedBoW(8)": ("LearnedBoW(8, max_epochs=1, subsample=50_000, random_state=0)", LABELLED_BAGS, FIRST_LABELLED),
    "PCAHasher(16), transform": ("PCAHasher(16)", TRANSFORM),
    "RBMHasher(8), transform": (f"RBMHasher(8, {EPOCH})", TRANSFORM),
    "SlowFeatures(4), transform": ("SlowFeatures(4)", TRANSFORM),
    "AutoPooling(4), transform": ("AutoPooling(4, max_iter=5, random_state=0)", TRANSFORM),
    "SparseAutoencoder(4), transform": (f"SparseAutoencoder(4, {EPOCH})", TRANSFORM),
    "ConvolutionalFeatures": (FILTERS, IMAGES, FIRST_IMAGES),
    "ConvolutionalFeatures, in parts": (FILTERS, IMAGES_IN_PARTS, FIRST_IMAGES),
    "IICClusterer of images": (CLUSTERER, IMAGES, FIRST_IMAGES),
    "EquivariantAutoencoder": (AUTOENCODER.replace("width", "loss='bce', width"), FIT_MAPS, FIRST_MAPS),
    "EquivariantAutoencoder, transform": (AUTOENCODER, f"model.transform({MAPS})", FIRST_MAPS),
    "EquivariantAutoencoder, predict_pose": (AUTOENCODER, f"model.predict_pose({MAPS})", FIRST_MAPS),
    "EquivariantAutoencoder of bytes, transform": (AUTOENCODER, f"model.transform({BYTES})", FIRST_BYTES),
    "CanonicalRotation": (ROTATION, FIT_MAPS, FIRST_MAPS),
    "CanonicalRotation, predict_angle": (ROTATION, f"model.predict_angle({MAPS})", FIRST_MAPS),
    "IICSegmenter": (SEGMENTER, FIT_MAPS, FIRST_MAPS),
    "IICSegmenter, predict": (SEGMENTER, f"model.predict({MAPS})", FIRST_MAPS),
    "IICSegmenter of bytes, predict": (SEGMENTER, f"model.predict({BYTES})", FIRST_BYTES),
    "IICSegmenter of one image": (
        SEGMENTER.replace("random'", "mixture', tile_size=64, random_state=0"),
        f"model.fit({LARGE}).predict({LARGE})",
        FIRST_LARGE,
    ),
    "IICClusterer of bytes": (OF_BYTES, FIT_BYTES, FIRST_BYTES),
    "IICClusterer of bytes, predict": (OF_BYTES, f"model.predict({BYTES})", FIRST_BYTES),
}
WIDTHS = {FIRST_IMAGES: 64 * 64, FIRST_MAPS: 64 * 64 * 64, FIRST_BYTES: 64 * 64 * 64, FIRST_LARGE: ROWS * D}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The rows, written in parts; the random numbers repeat."""
    path = tmp_path_factory.mktemp("memory") / "rows.npy"
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (ROWS, D))
    part = np.random.default_rng(0).random((ROWS // 64, D), dtype=np.float32)
    for i in range(64):
        rows[i * len(part) : (i + 1) * len(part)] = part
    rows.flush()
    yield path
    path.unlink()


def _run(file, estimator, call, first=FIRST, allowance=ALLOWANCE):
    root = str(Path(sklinvariant.__file__).parents[1])
    environment = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT.format(call=call, first=first), str(file), estimator, str(allowance)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_data_four_times_as_large_as_memory(case, file):
    result = _run(file, *CASES[case])
    assert result.stdout.strip() == f"fitted {WIDTHS.get(CASES[case][-1], D)}", result.stderr[-2000:]


@linux
@pytest.mark.slow
def test_the_limit_is_one(file):
    """What needs all rows in memory fails."""
    result = _run(file, "PCAHasher(16)", "model.fit(np.array(rows))")
    assert "MemoryError" in result.stderr
