"""Complete fits and transforms on a GPU, for `gpu.py`."""

import functools
import itertools
import time

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from torch.profiler import ProfilerActivity, profile

from sklinvariant import (
    DescriptorSets,
    EquivariantAutoencoder,
    IICClusterer,
    LearnedVLAD,
    NestedInvariancePooler,
    PCAHasher,
    RBMHasher,
)
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.networks import vgg_trunk
from sklinvariant.pooling import AutoPooling
from sklinvariant.transforms import Rotation

COLUMNS = ["fit", "data", "precision", "seconds", "result", "peak MB", "GPU busy"]


def cases(gpu, args):
    """The measurements of this part by name; each yields rows of the table."""
    found = {"residency": functools.partial(residency, gpu)}
    if args.data is not None or args.quick:
        found["IICClusterer, MNIST"] = functools.partial(iic_accuracy, gpu, "MNIST", mnist, args.data)
    found |= {
        "RBMHasher": functools.partial(rbm, gpu),
        "AutoPooling": functools.partial(auto_pooling, gpu),
        "NestedInvariancePooler": functools.partial(nested, gpu),
        "LearnedVLAD": functools.partial(learned_vlad, gpu),
    }
    if args.data is not None or args.quick:
        found["EquivariantAutoencoder"] = functools.partial(equivariant, gpu, args.data)
        found["IICClusterer"] = functools.partial(iic, gpu, args.data)
    if args.data is not None and (args.data / "cifar10_residual.npz").exists():
        found["IICClusterer, CIFAR-10"] = functools.partial(iic_accuracy, gpu, "CIFAR-10", cifar, args.data)
    return found


def residency(gpu):
    """The bytes that a Pipeline copies between host and GPU while it transforms a tensor of the GPU."""
    X = gpu.normal(gpu.size(100_000, 500), 64)
    pipeline = make_pipeline(PCAHasher(32, device="auto"), RBMHasher(16, max_epochs=1, random_state=0)).fit(X)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu.device.type == "cuda" else [])]
    with profile(activities=kinds) as measured:
        codes = pipeline.transform(X)
        gpu.wait()
    copies = [event for event in measured.key_averages() if "Memcpy HtoD" in event.key or "Memcpy DtoH" in event.key]
    found = f"{sum(event.count for event in copies)} copies between host and GPU; codes on {codes.device.type}"
    yield "Pipeline of hashers, transform", f"{X.shape[0]:,} × 64", "float32", "", found, "", ""


def rbm(gpu):
    n, units = gpu.size((60_000, 4096), (300, 16))
    X = gpu.normal(n, gpu.size(784, 20)).sigmoid_()
    for precision in ("float32", "tf32", "bf16"):
        make = functools.partial(
            RBMHasher, units, visible="scaled", max_epochs=3, batch_size=100, random_state=0, precision=precision
        )
        yield fitted(gpu, f"RBMHasher({units})", X, make, per_epoch=True)
    sample = X[: gpu.size(2000, 100)].cpu().numpy()
    peer = BernoulliRBM(units, batch_size=100, n_iter=1, learning_rate=0.05, random_state=0)
    started = time.perf_counter()
    peer.fit(sample)
    seconds = (time.perf_counter() - started) * n / len(sample)
    note = f"an epoch, extrapolated from {len(sample):,} rows"
    yield f"BernoulliRBM({units}) of scikit-learn, CPU", _size(X), "float32", f"{seconds:.3g}", note, "", ""


def auto_pooling(gpu):
    """Moments of frames that are made on the GPU in blocks."""
    n, d = gpu.size((10_000_000, 256), (2000, 8))
    step = gpu.size(1 << 20, 500)

    def frames():
        for start in range(0, n, step):
            yield gpu.normal(min(step, n - start), d, seed=start).cumsum_(0).abs_()

    model = AutoPooling(gpu.size(32, 4), random_state=0, solver="moment", standardize=False)
    seconds, _ = gpu.once(lambda: model.fit(frames()))
    yield "AutoPooling, moments and solver", f"{n:,} × {d}", "float32", f"{seconds:.3g}", "", "", ""


def nested(gpu):
    images = gpu.normal(gpu.size(64, 2), *gpu.size((224, 224), (16, 16)), 3).sigmoid_()
    widths = gpu.size((3, 32, 64, 128, 256), (3, 4))
    layers = ((torch.nn.Conv2d(c, k, 3, 2, 1), torch.nn.ReLU()) for c, k in itertools.pairwise(widths))
    backbone = torch.nn.Sequential(*itertools.chain(*layers))
    model = NestedInvariancePooler(
        backbone,
        stages=(("translation", 2), ("rotation", np.inf)),
        transforms={"rotation": Rotation(n_steps=gpu.size(360, 4))},
        batch_size=gpu.size(256, 8),
    ).fit(images)
    seconds = gpu.seconds(lambda: model.transform(images), budget=5)
    views = len(images) * gpu.size(360, 4)
    rate = f"{views / seconds:,.0f} views a second"
    yield "NestedInvariancePooler.transform", _size(images), "auto", f"{seconds:.3g}", rate, "", ""


def learned_vlad(gpu):
    n, m, d = gpu.size((50_000, 100, 64), (40, 6, 4))
    y = np.arange(n) % 10
    values = gpu.normal(n, m, d) + 0.3 * gpu.normal(10, 1, d, seed=1)[torch.as_tensor(y, device=gpu.device)]
    bags = DescriptorSets(values.view(-1, d), np.arange(n + 1) * m)
    for precision in ("float32", "tf32", "bf16"):
        make = functools.partial(
            LearnedVLAD, gpu.size(64, 2), max_epochs=3, batch_size=256, random_state=0, precision=precision
        )
        yield fitted(
            gpu, "LearnedVLAD, random descriptors", bags, make, y, per_epoch=True, size=f"{n:,} bags of {m} × {d}"
        )


def equivariant(gpu, data):
    images, _ = mnist(gpu, data)
    for precision in ("float32", "tf32", "bf16"):
        make = functools.partial(
            EquivariantAutoencoder, max_epochs=gpu.size(2, 1), batch_size=256, random_state=0, precision=precision
        )
        yield fitted(gpu, "EquivariantAutoencoder", images, make, per_epoch=True)


def clusterer(gpu, channels, **params):
    """The network of the paper for small images (6c), which is a VGG with four blocks."""
    network = vgg_trunk(channels, gpu.size((64, 128, 256, 512), (4, 4, 4, 4)))
    return IICClusterer(10, network=network, batch_size=gpu.size(700, 20), entropy_weight=2.0, random_state=0, **params)


def iic(gpu, data):
    """Seconds of an epoch in each precision."""
    images, _ = mnist(gpu, data)
    for compile in (False, True) if not gpu.quick else (False,):
        for precision in ("bf16", "tf32", "float32"):
            make = functools.partial(clusterer, gpu, 1, max_epochs=gpu.size(3, 1), precision=precision, compile=compile)
            name = "IICClusterer, compiled" if compile else "IICClusterer"
            yield fitted(gpu, name, images, make, per_epoch=True)


def iic_accuracy(gpu, name, read, data):
    """A complete fit in bfloat16. The paper's heads of lowest loss reach 99.2 % on MNIST and 61.7 % on CIFAR-10."""
    images, y = read(gpu, data)
    make = functools.partial(clusterer, gpu, images.shape[3] if images.ndim == 4 else 1, precision="bf16")
    epochs = gpu.size(30, 1)
    model, row = fitted_model(gpu, f"IICClusterer, {name}, {epochs} epochs", images, make, max_epochs=epochs)
    row[4] = f"accuracy {100 * clustering_accuracy(y, model.labels_):.2f} %"
    yield row


def mnist(gpu, data):
    if data is None:
        from sklearn.datasets import load_digits

        images, y = load_digits(return_X_y=True)
        return torch.as_tensor(images[:60].reshape(-1, 8, 8) / 16, dtype=torch.float32, device=gpu.device), y[:60]
    with np.load(data / "mnist.npz") as file:
        x, y = file["x_train"], file["y_train"]
    return torch.as_tensor(x / np.float32(255), device=gpu.device), y


def cifar(gpu, data):
    """The 60,000 images of CIFAR-10, which are stored as differences, and their labels."""
    with np.load(data / "cifar10_residual.npz") as file:
        images, labels = [], []
        for part in ("train", "test"):
            planes = np.cumsum(np.cumsum(file[f"q_{part}"], axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8)
            images.append(np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1))
            labels.append(file[f"y_{part}"].ravel().astype(int))
    return torch.as_tensor(np.concatenate(images), device=gpu.device), np.concatenate(labels)


def fitted(gpu, label, X, make, y=None, **options):
    return fitted_model(gpu, label, X, make, y, **options)[1]


def fitted_model(gpu, label, X, make, y=None, *, per_epoch=False, size=None, **params):
    """A fitted model, and the row of its fit. Another fit, of one epoch, measures the time that the GPU is busy."""
    given = () if y is None else (y,)
    model = make().set_params(**params)
    taken = {}

    def fit():
        taken["seconds"], _ = gpu.once(lambda: model.fit(X, *given))

    peak = gpu.peak(fit)
    seconds, unit = taken["seconds"], "fit"
    if per_epoch:
        seconds, unit = min(row["seconds"] for row in model.history_), "an epoch"
    row = [label, size or _size(X), model.precision, f"{seconds:.3g}", unit, f"{peak:.0f}", busy(gpu, make, X, given)]
    return model, row


def busy(gpu, make, X, given):
    """Share of the time of a fit of one epoch, with its start and its end, in which kernels run."""
    if gpu.device.type != "cuda":
        return ""
    model = make().set_params(max_epochs=1)
    with profile(activities=[ProfilerActivity.CUDA]) as measured:
        seconds, _ = gpu.once(lambda: model.fit(X, *given))
    kernels = sum(event.self_device_time_total for event in measured.key_averages()) / 1e6
    return f"{kernels / seconds:.0%}"


def _size(X):
    return " × ".join(f"{size:,}" for size in X.shape)
