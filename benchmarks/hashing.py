"""Hashers: speed of the RBM, ITQ and LSH compared with scikit-learn and faiss, and quality of all hashers, in one run.

    python benchmarks/hashing.py MNIST.npz FASHION.npz [--seeds 5] [--part speed quality]

"speed": 60,000 × 784 pixels and 256 units with the same settings (λ = 0, persistent chains, no momentum); times are
medians. "quality": 20,000 images of Fashion-MNIST are the database and 1,000 test images are the queries. The 50
nearest images in pixel space are relevant.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from measuring import add_json, medians, report
from sklearn.neural_network import BernoulliRBM

from sklinvariant import RBMHasher
from sklinvariant.hashing import BilinearHasher, ITQHasher, LSHHasher, PCAHasher, SKLSHHasher, SpectralHasher
from sklinvariant.metrics import exact_ranking, mean_average_precision

PLAIN = {"regularization": 0, "visible": "binary", "persistent": True, "momentum": 0, "weight_decay": 0}


def pixels(images, dtype=np.float32):
    return (images.reshape(len(images), -1) / 255).astype(dtype)


def speed(args):
    X = pixels(np.load(args.mnist)["x_train"])
    rows = []
    for batch_size in (100, 10):
        setting = {"learning_rate": 0.05, "batch_size": batch_size, "random_state": 0}
        for dtype in (np.float32, np.float64):
            data = X.astype(dtype)
            seconds = medians(
                3,
                ours=lambda setting=setting, data=data: RBMHasher(256, max_epochs=1, **PLAIN, **setting).fit(data),
                theirs=lambda setting=setting, data=data: BernoulliRBM(256, n_iter=1, **setting).fit(data),
                hashing=lambda setting=setting, data=data: RBMHasher(256, max_epochs=1, **setting).fit(data),
            )
            ratio = seconds["theirs"] / seconds["ours"]
            times = [f"{seconds[name]:.2f}" for name in ("ours", "theirs", "hashing")]
            rows.append([f"RBM, batch {batch_size}, {dtype.__name__}", *times[:2], f"{ratio:.1f}", times[2]])
    header = ["an epoch", "plain, s", "BernoulliRBM, s", "ratio", "RBMHasher's default, s"]
    report("hashing_rbm", header, rows, args)
    likelihood(X)
    against_faiss(X, args)


def likelihood(X):
    """Pseudo-likelihood of 5,000 rows after 10 epochs with the same settings, computed by the same formula."""
    from sklinvariant.hashing._rbm import pseudo_log_likelihood

    setting = {"learning_rate": 0.05, "batch_size": 100, "random_state": 0}
    theirs = BernoulliRBM(256, n_iter=10, **setting).fit(X)
    ours = RBMHasher(256, max_epochs=10, **PLAIN, **setting).fit(X)
    names = ("components_", "intercept_hidden_", "intercept_visible_")
    values = [
        float(pseudo_log_likelihood(torch.tensor(X[:1000]), *(torch.tensor(getattr(m, n)) for n in names)).mean())
        for m in (ours, theirs)
    ]
    print(f"\npseudo-likelihood after 10 epochs: ours {values[0]:.1f}, BernoulliRBM {values[1]:.1f}\n")


def against_faiss(X, args):
    try:
        import faiss
    except ImportError:
        return
    data = np.ascontiguousarray(X)

    def their_itq():
        pca, itq = faiss.PCAMatrix(784, 64), faiss.ITQMatrix(64)
        pca.train(data)
        itq.train(pca.apply(data))

    def their_lsh():
        index = faiss.IndexLSH(784, 256)
        index.train(data)
        index.add(data)

    lsh = LSHHasher(256, packed=True, random_state=0)
    seconds = medians(
        3,
        itq=lambda: ITQHasher(64, random_state=0).fit(data),
        their_itq=their_itq,
        lsh=lambda: lsh.fit(data).transform(data),
        their_lsh=their_lsh,
    )
    rows = [
        ["ITQ, 64 bits, fit", f"{seconds['itq']:.2f}", f"{seconds['their_itq']:.2f}"],
        ["LSH, 256 bits, fit and hash", f"{seconds['lsh']:.2f}", f"{seconds['their_lsh']:.2f}"],
    ]
    report("hashing_faiss", [f"{len(X):,} × {X.shape[1]}", "ours, s", "faiss, s"], rows, args)


def hashers(n_bits, seed):
    return {
        "RBMH, λ = 0.5": RBMHasher(n_bits, random_state=seed),
        "RBM, λ = 0": RBMHasher(n_bits, regularization=0, random_state=seed),
        "RBM, sparse": RBMHasher(n_bits, regularization=0, sparsity=0.2, sparsity_weight=0.5, random_state=seed),
        "ITQ": ITQHasher(n_bits, random_state=seed),
        "LSH": LSHHasher(n_bits, random_state=seed),
        "SH": SpectralHasher(n_bits),
        "PCAHash": PCAHasher(n_bits),
        "BPBC": BilinearHasher(n_bits, random_state=seed),
        "SKLSH": SKLSHHasher(n_bits, random_state=seed),
    }


def quality(args):
    data, seeds = np.load(args.fashion), args.seeds
    order = np.random.RandomState(0).permutation(len(data["x_train"]))[:20_000]
    database = pixels(data["x_train"][order])
    queries = pixels(data["x_test"][np.random.RandomState(1).permutation(len(data["x_test"]))[:1000]])
    relevant = exact_ranking(queries, database, n_neighbors=50)
    rows = {}
    for n_bits in (32, 64):
        for name in hashers(32, 0):
            found = []
            for seed in range(seeds if hasattr(hashers(32, 0)[name], "random_state") else 1):
                hasher = hashers(n_bits, seed)[name].fit(database)
                ranking = exact_ranking(hasher.transform(queries), hasher.transform(database), metric="hamming")
                found.append(mean_average_precision(ranking, relevant))
            rows.setdefault(name, [name]).append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
            print(f"{name} {n_bits}: {rows[name][-1]}", flush=True)
    print(f"\nmAP, mean ± std of {seeds} seeds\n")
    report("hashing_quality", ["hash", "32 bits", "64 bits"], list(rows.values()), args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", nargs="+", choices=("speed", "quality"), default=("speed", "quality"))
    add_json(parser)
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads\n")
    if "speed" in args.part:
        speed(args)
    if "quality" in args.part:
        quality(args)


if __name__ == "__main__":
    main()
