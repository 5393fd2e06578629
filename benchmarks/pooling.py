"""Time of NestedInvariancePooler relative to that of its backbone on the same views, and its memory, in one run.

    python benchmarks/pooling.py --weights squeezenet.npz [--images 4] [--size 224] [--device cuda]

There are two peers. One is the backbone alone on the same number of precomputed views, which is a lower bound. The
other is a plain loop over the orbit that computes each view with torch's affine_grid and grid_sample, keeps all
activations, and pools at the end.
"""

import argparse
import resource

import torch
from measuring import add_json, medians, report

from sklinvariant import NestedInvariancePooler
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.networks import SqueezeNet11Features
from sklinvariant.transforms import Rotation, Scale

PAPER = [("scale", 1), ("translation", 2), ("rotation", torch.inf)]


def plain_loop(network, images, angles, scales):
    """Equation 4 without optimisation: activations (rotations, scales, n, cells, d), then the three moments."""
    x = images.permute(0, 3, 1, 2)
    kept = []
    for angle in angles:
        for scale in scales:
            turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]]) * scale
            grid = torch.nn.functional.affine_grid(turn.expand(len(x), 2, 3).to(x), x.shape, align_corners=False)
            view = torch.nn.functional.grid_sample(x - x.mean((2, 3), keepdim=True), grid, align_corners=False)
            kept.append(network(view + x.mean((2, 3), keepdim=True)).flatten(2))
    maps = torch.stack(kept).unflatten(0, (len(angles), len(scales)))
    return torch.nn.functional.normalize(maps.mean(1).square().mean(-1).sqrt().amax(0), dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="weights of SqueezeNet 1.1 as .npz or .safetensors (default: random weights)")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rotations", type=int, default=36)
    parser.add_argument("--scales", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    args = parser.parse_args()
    images = torch.rand(args.images, args.size, args.size, 3, generator=torch.Generator().manual_seed(0)).to(
        args.device
    )
    transforms = {"rotation": Rotation(n_steps=args.rotations), "scale": Scale(n_steps=args.scales)}
    backbone = BackbonePatches(SqueezeNet11Features(), weights=args.weights, device=args.device, precision="float32")
    settings = {"stages": PAPER, "transforms": transforms, "device": args.device, "batch_size": args.images}
    pooler = NestedInvariancePooler(backbone, **settings).fit(images)
    see = pooler.backbone_.feature_maps(args.device)
    network = pooler.backbone_._fitted_backbone().network.to(args.device)
    views = args.rotations * args.scales
    angles, scales = torch.arange(args.rotations) * 2 * torch.pi / args.rotations, torch.linspace(0.5, 1, args.scales)

    def bare():
        for _ in range(views):
            see(images)

    @torch.no_grad()
    def loop():
        return plain_loop(network, images, angles, scales)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pooler.transform(images)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    seconds = medians(args.repeats, ours=lambda: pooler.transform(images), bare=bare, loop=loop)
    n = args.images * views
    rows = [
        [name, f"{n / seconds[key]:.0f}", f"{seconds[key] / seconds['bare']:.3f}"]
        for name, key in (("NestedInvariancePooler", "ours"), ("the backbone alone", "bare"), ("plain loop", "loop"))
    ]
    print(f"{args.images} images, {views} views each, {args.size} px, {args.device}, {torch.get_num_threads()} threads")
    print(f"resident memory grew by {memory:.0f} MB in the first call of NestedInvariancePooler\n")
    report("pooling", ["", "views/s", "time / the backbone's"], rows, args)


if __name__ == "__main__":
    main()
