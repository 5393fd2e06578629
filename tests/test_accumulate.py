"""Fits from memory-mapped files that are larger than the memory that the process may allocate.

This file is also the program that fits: it limits its own memory first.
"""

import os
import pickle
import subprocess
import sys
import traceback

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from tolerance import assert_close

from sklinvariant import VLAD, AutoPooling, BagOfWords, DescriptorSets, FisherVector, SlowFeatures
from sklinvariant.feature_extraction import ConvolutionalFeatures
from sklinvariant.hashing import BilinearHasher, ITQHasher, PCAHasher, SignHasher, SKLSHHasher, SpectralHasher

N_ROWS, N_FEATURES = 550_000, 128  # 280 MB
ALLOWED = 64 << 20  # bytes that a fit may allocate

_CODEBOOK = {"random_state": 0, "subsample": None, "max_iter": 2}
BAGS = {
    "BagOfWords": BagOfWords(4, **_CODEBOOK),
    "VLAD": VLAD(4, **_CODEBOOK),
    "FisherVector": FisherVector(2, tol=0, **_CODEBOOK),
}
IMAGES = {
    "ConvolutionalFeatures": ConvolutionalFeatures(
        MiniBatchKMeans(4, n_init=1, random_state=0), n_patches=1000, random_state=0
    ),
}
HALF = ("PCAHasher", "AutoPooling")  # also fitted to float16, which is converted block by block
ESTIMATORS = {
    "SignHasher": SignHasher(),
    "SKLSHHasher": SKLSHHasher(16, random_state=0),
    "PCAHasher": PCAHasher(16),
    "ITQHasher": ITQHasher(8, max_iter=2, random_state=0),
    "SpectralHasher": SpectralHasher(16),
    "BilinearHasher": BilinearHasher(16, max_iter=1, random_state=0),
    "AutoPooling": AutoPooling(4, solver="moment", max_iter=3, tol=1e3, random_state=0),
    "SlowFeatures": SlowFeatures(4),
    **BAGS,
    **IMAGES,
}


def write_rows(path, n):
    """Rows that change slowly, so that AutoPooling accepts them as one clip."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, N_FEATURES))
    random = np.random.RandomState(0)
    steps = random.uniform(-0.1, 0.1, (1000, N_FEATURES)).cumsum(0).astype(np.float32)
    for start in range(0, n, len(steps)):
        part = rows[start : start + len(steps)]
        part[:] = 5 + random.uniform(0.5, 2, N_FEATURES) * (steps - steps.mean(0))[: len(part)]
    rows -= rows.min()
    rows.flush()


def learned_by(name, rows):
    """The arrays that an estimator learns from rows, which are cut into bags or reshaped to images."""
    X = rows.reshape(-1, 8, 16) if name in IMAGES else rows
    X = DescriptorSets(rows, np.arange(0, len(rows) + 1, 100)) if name in BAGS else X
    state = ESTIMATORS[name].fit(X)._state
    return {key: value for key, value in state.items() if isinstance(value, np.ndarray)}


FITS = [*((name, "float32") for name in ESTIMATORS), *((name, "float16") for name in HALF)]


def main(folder):
    """Fit all estimators to a memory-mapped file with limited memory, and write the fitted states or the tracebacks."""
    import resource

    for name, dtype in FITS:  # loads all that a fit needs
        learned_by(name, np.load(f"{folder}/small.npy").astype(dtype))
    with open("/proc/self/status") as file:
        used = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + ALLOWED, resource.RLIM_INFINITY))
    with pytest.raises(MemoryError):  # the limit works
        np.load(f"{folder}/float32.npy")
    results = {}
    for name, dtype in FITS:
        try:
            results[name, dtype] = learned_by(name, np.load(f"{folder}/{dtype}.npy", mmap_mode="r"))
        except Exception:
            results[name, dtype] = traceback.format_exc()
    pickle.dump(results, sys.stdout.buffer)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The folder of the files, and the states that are learned from them with limited memory."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("RLIMIT_DATA limits what is allocated on Linux alone")
    folder = tmp_path_factory.mktemp("mapped")
    write_rows(folder / "small.npy", 2000)
    write_rows(folder / "float32.npy", N_ROWS)
    np.save(folder / "float16.npy", np.load(folder / "float32.npy").astype(np.float16))
    program = [sys.executable, __file__, str(folder)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        "MALLOC_MMAP_THRESHOLD_": "1000000",  # glibc then returns freed blocks to the system, and they do not count
        "MALLOC_TRIM_THRESHOLD_": "1000000",
    }
    done = subprocess.run(program, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    yield folder, pickle.loads(done.stdout)
    for dtype in ("float16", "float32"):
        (folder / f"{dtype}.npy").unlink()


@pytest.mark.parametrize(("name", "dtype"), FITS)
def test_fit_of_a_file_larger_than_memory(name, dtype, mapped):
    folder, results = mapped
    learned = results[name, dtype]
    assert isinstance(learned, dict), learned
    for key, expected in learned_by(name, np.load(folder / f"{dtype}.npy")).items():
        assert_close(learned[key], expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
