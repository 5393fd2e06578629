"""Speed of group convolutions, compared with ordinary convolutions with the same number of output channels.

    python benchmarks/group_convolutions.py [--device cpu] [--repeats 15]

Both convolutions map c · order channels to the same number of channels. The number of weights of the group convolution
is smaller by a factor of the group order, and its filters are expanded at each call. Times are medians of alternating
repetitions in milliseconds, for the forward pass alone and with gradients.
"""

import argparse

import torch
from measuring import add_json, medians, report
from torch import nn

from sklinvariant.networks import Group, GroupConv2d, LiftingConv2d


def step(layer, x):
    layer(x).sum().backward()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    add_json(parser)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {arguments.device}\n")
    rows = []
    for name, channels, n, size in (
        ("C4", 8, 64, 28),
        ("C4", 16, 64, 14),
        ("D4", 8, 64, 14),
        ("D4", 16, 32, 8),
        ("C8", 8, 64, 14),
        ("D8", 4, 32, 14),
    ):
        order = Group(name).order
        for kind in ("lifting", "regular"):
            lifts = kind == "lifting"
            ours = (LiftingConv2d if lifts else GroupConv2d)(1 if lifts else channels, channels, 3, name, padding=1)
            plain = nn.Conv2d(1 if lifts else channels * order, channels * order, 3, padding=1)
            ours, plain = ours.to(arguments.device), plain.to(arguments.device)
            x = torch.randn(n, 1 if lifts else channels * order, size, size, device=arguments.device)
            x.requires_grad_(not lifts)
            with torch.no_grad():
                forward = medians(arguments.repeats, ours=lambda f=ours, x=x: f(x), plain=lambda f=plain, x=x: f(x))
            both = medians(
                arguments.repeats, ours=lambda f=ours, x=x: step(f, x), plain=lambda f=plain, x=x: step(f, x)
            )
            cells = [
                cell
                for times in (forward, both)
                for cell in (
                    *(f"{1e3 * times[k]:.2f}" for k in ("plain", "ours")),
                    f"{times['ours'] / times['plain']:.2f}",
                )
            ]
            rows.append([name, kind, f"{n} × {channels * order} × {size} × {size}", *cells])
    header = ["group", "convolution", "output", "plain, ms", "group's, ms", "ratio", "plain + gradient, ms"]
    report("group_convolutions", [*header, "group's + gradient, ms", "ratio"], rows, arguments)


if __name__ == "__main__":
    main()
