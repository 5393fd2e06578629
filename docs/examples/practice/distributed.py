"""
Training an estimator with several processes
============================================

The same script runs alone, with two processes on one machine, and on two machines:

    python distributed.py
    torchrun --nproc-per-node=2 distributed.py
    torchrun --nnodes=2 --nproc-per-node=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 distributed.py
"""

# sphinx_gallery_thumbnail_path = 'images/distributed-thumbnail.png'

import os
import time

import torch
import torch.distributed as dist
from sklearn.metrics import adjusted_rand_score

import sklinvariant
from sklinvariant import IICClusterer
from sklinvariant.datasets import load_digits_images

if dist.is_torchelastic_launched():  # by torchrun
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group()

images, labels = load_digits_images(return_X_y=True)
model = IICClusterer(10, n_heads=2, max_epochs=2, random_state=0)
with sklinvariant.distributed() as rank:
    start = time.perf_counter()
    model.fit(images)

if rank == 0:
    score = adjusted_rand_score(labels, model.labels_)
    print(f"adjusted Rand index {score:.3f} after {time.perf_counter() - start:.0f} s")
    sklinvariant.save(model, "digits.sklinvariant")

if dist.is_initialized():
    dist.destroy_process_group()
