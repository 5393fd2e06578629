"""Speed of invariant clustering, compared with separate transformation of each image and a separate loss of each head.

    python benchmarks/cluster.py [--images 2000] [--repeats 3] [--device cpu]

"training": pairs per second of whole epochs, including the views (rotation, crop, brightness and contrast). The peer is
a DataLoader (without workers, which would use more processors) over a data set that transforms each image with Pillow.
It trains the same network with the same optimizer, heads and batch size.
"loss": the mutual information of all heads, compared with the six lines of the paper for each head, forward and
backward.
"layout": a training step with channels-last memory layout, as in IICClusterer, and with channels-first layout, and the
share of the loss.
Times are medians of alternating repetitions. Set OMP_NUM_THREADS to choose the number of threads.
"""

import argparse

import numpy as np
import torch
from measuring import add_json, medians, report
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

from sklinvariant.cluster._cluster_network import ClusterNetwork
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.networks import vgg_trunk
from sklinvariant.ops import joint_information, joint_sum
from sklinvariant.pairs._sample_pairs import SamplePairBatches, ViewPairs
from sklinvariant.transforms import ColorJitter, Compose, Crop, Rotation

K, HEADS, BATCH = 10, 5, 500


VIEWS = Compose([Rotation(25), Crop((0.6, 1.0)), ColorJitter(0.4, 0.4, 0.0, 0.0)])


class Views(Dataset):
    """An image and a view by Pillow: rotated, cropped and resized, with changed brightness and contrast."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, draw = Image.fromarray(self.images[i]), np.random.uniform
        view = image.rotate(draw(-25, 25), Image.Resampling.BILINEAR)
        area, ratio = draw(0.6, 1.0), np.exp(draw(np.log(3 / 4), np.log(4 / 3)))
        width, height = (min(image.size[0] * size, image.size[0]) for size in np.sqrt([area * ratio, area / ratio]))
        left, top = draw(0, image.size[0] - width), draw(0, image.size[1] - height)
        box = (left, top, left + width, top + height)
        view = view.resize(image.size, Image.Resampling.BILINEAR, box)
        view = ImageEnhance.Brightness(view).enhance(draw(0.6, 1.4))
        view = ImageEnhance.Contrast(view).enhance(draw(0.6, 1.4))
        return tuple(torch.from_numpy(np.array(x, np.float32)[..., None] / 255) for x in (image, view))


def six_lines(z, zt, eps=1e-12):
    P = (z.unsqueeze(2) * zt.unsqueeze(1)).sum(dim=0)
    P = ((P + P.t()) / 2) / P.sum()
    P = P.clamp_min(eps)
    Pi = P.sum(dim=1).view(-1, 1).expand(P.shape)
    Pj = P.sum(dim=0).view(1, -1).expand(P.shape)
    return (P * (torch.log(Pi) + torch.log(Pj) - torch.log(P))).sum()


def by_heads(one, two):
    return sum(six_lines(one[:, head], two[:, head]) for head in range(one.shape[1])) / one.shape[1]


def at_once(one, two):
    return -joint_information(joint_sum(one, two)).mean()


def start(trunk, shape, device, memory_format=torch.channels_last):
    generator = torch.Generator().manual_seed(0)
    settings = {"scaling": Scaling(torch.tensor(0.2), torch.tensor(0.3)), "entropy_weight": 2.0}
    network = ClusterNetwork.build(trunk, shape, HEADS, K, None, generator=generator, **settings)
    network = network.to(device, memory_format=memory_format)
    return network, torch.optim.Adam(network.parameters())


def step(network, optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def training(args):
    rows = []
    trunks = {"MLP": "mlp", "VGG, an eighth of the width": vgg_trunk(1, (16, 32, 64, 128))}
    for side in (8, 28):
        images = np.random.RandomState(0).randint(0, 256, (args.images, side, side)).astype(np.uint8)
        for name, trunk in trunks.items():
            network, optimizer = start(trunk, (side, side, 1), args.device)
            samples = torch.from_numpy(images).float()[..., None].to(args.device) / 255
            source = ViewPairs(samples, VIEWS, torch.Generator().manual_seed(0))
            batches = SamplePairBatches(source, source.rows, batch_size=BATCH, n_repeats=1)

            def ours(network=network, optimizer=optimizer, batches=batches):
                for batch, _ in batches:
                    step(network, optimizer, network(batch))

            def usual(network=network, optimizer=optimizer, images=images):
                for first, second in DataLoader(Views(images), batch_size=BATCH, shuffle=True):
                    one, two = (network.heads(network.features(x.to(args.device))) for x in (first, second))
                    step(network, optimizer, by_heads(one, two))

            def views(source=source):
                for index in source.rows.split(BATCH):
                    source.take(index, 1)

            def views_usual(images=images):
                for _ in DataLoader(Views(images), batch_size=BATCH, shuffle=True):
                    pass

            t = medians(args.repeats, ours=ours, usual=usual, views=views, views_usual=views_usual)
            speeds = [f"{args.images / t[key]:,.0f}" for key in ("usual", "ours")]
            ratios = [f"{t['usual'] / t['ours']:.1f} ×", f"{t['views_usual'] / t['views']:.1f} ×"]
            rows.append([f"{side} × {side}, {name}", *speeds, *ratios])
    header = ["training", "usual, pairs/s", "IICClusterer, pairs/s", "faster by", "views alone"]
    report("cluster_training", header, rows, args)


def loss(args):
    rows = []
    for n, k in ((500, 10), (1000, 10), (1000, 100)):
        z = torch.randn(2, n, HEADS, k, device=args.device).softmax(-1).requires_grad_()
        functions = {name: lambda f=f, z=z: f(*z).backward() for name, f in (("six", by_heads), ("ours", at_once))}
        t = medians(20 * args.repeats, **functions)
        rows.append(
            [f"{n} pairs, k = {k}", *(f"{1000 * s:.2f} ms" for s in t.values()), f"{t['six'] / t['ours']:.1f} ×"]
        )
    report("cluster_loss", ["loss of 5 heads", "six lines per head", "all heads at once", "faster by"], rows, args)


def layout(args):
    samples = torch.rand(128, 24, 24, 1, device=args.device)
    functions = {}
    for name, memory_format in (("first", torch.contiguous_format), ("last", torch.channels_last)):
        network, optimizer = start(vgg_trunk(1, (64, 128, 256)), (24, 24, 1), args.device, memory_format)

        def run(network=network, optimizer=optimizer):
            assigned = network.heads(network.features(torch.cat([samples, samples])))
            step(network, optimizer, at_once(*assigned.chunk(2)))

        functions[name] = run
    t = medians(args.repeats, **functions)
    z = torch.randn(2, 128, HEADS, K, device=args.device).softmax(-1).requires_grad_()
    share = medians(20, loss=lambda: at_once(*z).backward())["loss"] / t["last"]
    rows = [
        [f"{128 / s:.0f} pairs/s" for s in t.values()] + [f"{t['first'] / t['last']:.2f} ×", f"{100 * share:.1f} %"]
    ]
    header = ["64-128-256 at 24 × 24: channels first", "channels last", "faster by", "the loss takes, of a step"]
    report("cluster_layout", header, rows, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    args = parser.parse_args()
    print(f"{args.device}, {torch.get_num_threads()} thread(s)\n")
    for part in (training, loss, layout):
        part(args)
        print(flush=True)


if __name__ == "__main__":
    main()
