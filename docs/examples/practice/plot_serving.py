"""
Save a model, and serve it without scikit-learn
===============================================

A fitted Pipeline becomes one torch module with the same answers. The module can be exported to a file that a
server runs with torch alone, or with onnxruntime if it is installed.
"""

# %%
# The Pipeline to serve: from images to codes of 32 bits, for a search.

import tempfile
import warnings
from pathlib import Path

import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.pipeline import make_pipeline

import sklinvariant
from sklinvariant import ConvolutionalFeatures, ITQHasher, SpatialPooling, to_module
from sklinvariant.datasets import load_digits_images

images, _ = load_digits_images(return_X_y=True)
extractor = MiniBatchKMeans(32, n_init=1, random_state=0)
features = ConvolutionalFeatures(extractor, patch_size=5, random_state=0)
pipeline = make_pipeline(features, SpatialPooling([(2, 2)]), ITQHasher(32, random_state=0)).fit(images[:1000])
new = images[1000:]
codes = pipeline.transform(new)

# %%
# **Saving.** ``sklinvariant.save`` writes one estimator to a file from which ``load`` runs no code. For a
# whole Pipeline use ``skops.io.dump``, or joblib if you trust the file.

folder = tempfile.TemporaryDirectory()
file = Path(folder.name, "hasher.sklinvariant")
sklinvariant.save(pipeline[-1], file)
restored = sklinvariant.load(file)
print(f"{type(restored).__name__}: {file.stat().st_size:,} bytes")
print("same codes:", (restored.transform(pipeline[:-1].transform(new)) == codes).all())

# %%
# **A module.** ``torch.export`` writes it to a file, with any number of images as input.

module = to_module(pipeline)
batch = torch.from_numpy(new[:2])
any_number = ({0: torch.export.Dim.AUTO},)
torch.export.save(torch.export.export(module, (batch,), dynamic_shapes=any_number), Path(folder.name, "codes.pt2"))
exported = torch.export.load(Path(folder.name, "codes.pt2")).module()
servers = {
    "Pipeline": pipeline.transform,
    "torch module": lambda X: module(torch.from_numpy(X)).numpy(),
    "torch.export file": lambda X: exported(torch.from_numpy(X)).numpy(),
}

# %%
# **ONNX** runs without torch. Its sums are rounded differently, so a bit whose projection is almost zero may
# differ.

try:
    import onnxruntime
    import onnxscript  # noqa: F401 - torch.onnx needs it
except ImportError:
    print('ONNX is left out: pip install "sklinvariant[onnx]"')
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about its own code
        program = torch.onnx.export(module, (batch,), dynamo=True, dynamic_shapes=any_number, verbose=False)
    program.save(str(Path(folder.name, "codes.onnx")))
    session = onnxruntime.InferenceSession(str(Path(folder.name, "codes.onnx")), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    servers["ONNX file"] = lambda X: session.run(None, {name: X})[0]

# %%
# All give the same codes. A single image, as in a web service, gains most, because the checks of scikit-learn
# are left out. The times are those of the machine that built this page.

from time import perf_counter

import numpy as np


def milliseconds(answer, X, repeats=20):
    """Median time of a call."""
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            start = perf_counter()
            answer(X)
            times.append(perf_counter() - start)
    return 1000 * np.median(times)


times = {}
for server, answer in servers.items():
    same = np.mean(answer(new) == codes)
    times[server] = milliseconds(answer, new[:1]), milliseconds(answer, new, repeats=3)
    one, many = times[server]
    print(f"{server:<17} {same:.2%} equal bits, {one:.2f} ms for one image, {many:.0f} ms for {len(new)}")
folder.cleanup()

# %%

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
for ax, column, title in zip(axes, (0, 1), ("one image", f"{len(new)} images"), strict=True):
    bars = ax.barh(list(times), [row[column] for row in times.values()], color="#0072B2")
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.margins(x=0.15)
    ax.set(xlabel="milliseconds", title=f"Time to compute the codes of {title}")
axes[0].invert_yaxis()
plt.show()
