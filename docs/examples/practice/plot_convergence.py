"""
What to do when a fit does not converge
=======================================

Estimators that are trained in epochs record the loss of each epoch in ``history_``. A plot of it answers most
questions about a fit that gives poor results.
"""

# %%
# The bags of this example contain patches of digits, but the unit of one feature was confused: it is 1,000
# times too large.

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant import DensePatches, LearnedVLAD, OnDescriptors
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
bags = make_pipeline(DensePatches(4, stride=1), OnDescriptors(PCA(8, random_state=0))).fit_transform(images)
train, test, y_train, y_test = bags[:500], bags[1000:], y[:500], y[1000:]
wrong_unit = np.array([1, 1, 1, 1, 1, 1, 1, 1000.0], dtype=np.float32)

# %%
# **Look at the scale of the features first.** ``StandardScaler`` repairs it, without any other change.

settings = {"n_codewords": 8, "max_epochs": 20, "random_state": 0}
for name, scaler in (("as given", None), ("standardised", OnDescriptors(StandardScaler()))):
    model = make_pipeline(scaler, LearnedVLAD(**settings)).fit(train * wrong_unit, y_train)
    print(f"{name:<13} accuracy {model.score(test * wrong_unit, y_test):.3f}")

# %%
# **Then the learning rate.** If it is too small, the loss hardly falls in the given number of epochs. If it
# is too large, the loss rises first and stays high.

rates = [0.0005, 0.05, 5.0]
losses = {}
for rate in rates:
    model = LearnedVLAD(learning_rate=rate, **settings).fit(train, y_train)
    losses[rate] = [row["loss"] for row in model.history_]
    print(f"learning rate {rate:<6} last loss {losses[rate][-1]:.3f}, accuracy {model.score(test, y_test):.3f}")

# %%
# **Then the number of epochs.** ``tol`` ends a fit when the loss no longer falls, so that ``max_epochs`` may
# be large. The learning rate must then stay constant.

patient = LearnedVLAD(8, learning_rate=0.01, learning_rate_decay=None, max_epochs=60, tol=1e-3, random_state=0)
patient.fit(train, y_train)
print(f"stopped after {patient.n_iter_} of {patient.max_epochs} epochs, accuracy {patient.score(test, y_test):.3f}")

# %%
# **Last, the seed.** If results differ much between seeds, no single one of them should be reported, and a
# comparison needs several.

accuracies = [
    LearnedVLAD(**settings | {"random_state": seed}).fit(train, y_train).score(test, y_test) for seed in range(5)
]
print(f"five seeds: {min(accuracies):.3f} to {max(accuracies):.3f}")

# %%

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
for rate, colour, line in zip(rates, ("#777777", "#0072B2", "#D55E00"), (":", "-", "--"), strict=True):
    ax.plot(range(1, 21), losses[rate], line, color=colour, linewidth=2.5, label=f"learning rate {rate:g}")
ax.set(yscale="log", xlabel="epoch", ylabel="training loss", xticks=range(0, 21, 5))
ax.set_title("LearnedVLAD: too small, right and too large learning rate")
figure.legend(loc="outside right upper")
plt.show()
