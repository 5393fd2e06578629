"""Group convolutions against the definition; exactness for every layer and size; export; bad input.

Exact means up to the rounding of float32, relative to the largest value: a layer that is not exact errs by tenths.
"""

import itertools

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

from sklinvariant.metrics import equivariance_error
from sklinvariant.networks import (
    Group,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupConvTranspose2d,
    GroupPool2d,
    GroupUpsample2d,
    LiftingConv2d,
    ProjectingConv2d,
)

EXACT = ["C1", "C2", "C4", "D1", "D2", "D4"]
ROUNDING = 1e-5


def _maps(group, size, seed=0, channels=2):
    shape = (2, *((size, size) if isinstance(size, int) else size), channels * group.order)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _by_definition(layer, x):
    """The sum over positions and elements for each filter, on the padded input, with stride 1."""
    group, weight = layer.group, layer.weight.detach().numpy()
    k, c, _, h, w = weight.shape
    n_in, n_out = 1 if layer.lifts else group.order, 1 if layer.projects else group.order
    x = np.pad(x.numpy(), [(0, 0), (0, 0), *((p, p) for p in layer.padding)])
    answer = np.zeros((len(x), k * n_out, x.shape[2] - h + 1, x.shape[3] - w + 1))
    for i, g, j, u in itertools.product(range(k), range(n_out), range(c), range(n_in)):
        stored = 0 if layer.lifts or layer.projects else group.products[group.inverses[g], u]
        turn = u if layer.projects else g
        psi = weight[i, j, stored][:, ::-1] if group.mirrored[turn] else weight[i, j, stored]
        psi = np.rot90(psi, int(group.angles[turn] // 90))
        for row, column in np.ndindex(*answer.shape[2:]):
            seen = x[:, j * n_in + u, row : row + h, column : column + w]
            answer[:, i * n_out + g, row, column] += (psi * seen).sum((1, 2))
    return answer + layer.bias.detach().numpy().repeat(n_out)[:, None, None]


@pytest.mark.parametrize("name", ["C4", "D2", "D4"])
@pytest.mark.parametrize("kind", [LiftingConv2d, GroupConv2d, ProjectingConv2d])
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_definition(name, kind, kernel_size, global_random_seed):
    layer = kind(2, 2, kernel_size, name, padding=1)
    nn.init.normal_(layer.bias)
    order = 1 if layer.lifts else layer.group.order
    x = torch.randn(2, 2 * order, 4, 4, generator=torch.Generator().manual_seed(global_random_seed))
    np.testing.assert_allclose(layer(x).detach(), _by_definition(layer, x), atol=1e-5)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [6, 7])
def test_every_layer_is_exact(name, size):
    group = Group(name)
    images = _maps(Group("C1"), size)
    maps = _maps(group, size)
    odd = size % 2
    lifting = [LiftingConv2d(2, 3, 3, group, padding=1), LiftingConv2d(2, 3, 4 - odd, group, stride=2, padding=1)]
    regular = [
        GroupConv2d(2, 3, 3, group, padding=1),
        GroupConv2d(2, 3, 2 + odd, group, stride=2),
        GroupConv2d(2, 3, size, group),
        GroupConvTranspose2d(2, 3, 4, group, stride=2, padding=1),
        GroupConvTranspose2d(2, 3, 3, group, stride=2, padding=1),
        GroupBatchNorm2d(2, group),
        GroupBatchNorm2d(2, group).eval(),
        GroupPool2d.halving((size, size)),
        GroupPool2d.halving((size, size), "max"),
        GroupPool2d(3, stride=1, padding=1, mode="max"),
        GroupUpsample2d(2 * size),
        GroupUpsample2d(2 * size - 1),
        nn.ReLU(),
    ]
    for layer in lifting:
        assert equivariance_error(layer, group, images) < ROUNDING, layer
    for layer in regular:
        assert equivariance_error(layer, group, maps, input="group") < ROUNDING, layer
    layer = ProjectingConv2d(2, 3, 3, group, padding=1)
    assert equivariance_error(layer, group, maps, input="group", output="image") < ROUNDING


def _network(group, size, channels=3):
    half, generator = -(-size // 2), torch.Generator().manual_seed(0)
    return nn.Sequential(
        LiftingConv2d(2, channels, 3, group, padding=1, generator=generator),
        GroupBatchNorm2d(channels, group),
        nn.ReLU(),
        GroupPool2d.halving((size, size)),
        GroupConv2d(channels, channels, half, group, generator=generator),
        GroupConvTranspose2d(channels, channels, half, group, generator=generator),
        GroupBatchNorm2d(channels, group),
        nn.ReLU(),
        GroupUpsample2d(size),
        ProjectingConv2d(channels, 2, 3, group, padding=1, generator=generator),
    )


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [5, 8, 9])
def test_a_whole_network_is_exact(name, size):
    network = _network(name, size)
    images = _maps(Group("C1"), size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(3):
        assert equivariance_error(network.eval(), name, images, output="image") < ROUNDING
        x = images.permute(0, 3, 1, 2)
        (network.train()(x) - x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["C2", "D2", "D1"])
def test_images_that_are_not_square(name):
    group = Group(name)
    maps = _maps(group, (5, 6))
    for layer in (
        GroupConv2d(2, 3, (5, 6), group),
        GroupPool2d.halving((5, 6)),
        GroupUpsample2d((9, 12)),
        GroupUpsample2d((10, 11)),
    ):
        assert equivariance_error(layer, group, maps, input="group") < ROUNDING
    with pytest.raises(ValueError, match="must be square for the rotations of C4"):
        GroupConv2d(2, 3, (5, 6), "C4")
    for kind in (LiftingConv2d, GroupConvTranspose2d):
        with pytest.raises(ValueError, match=r"padding=\(1, 0\) must be the same .* rotations of D4"):
            kind(2, 3, 3, "D4", padding=(1, 0))
    assert equivariance_error(GroupConv2d(2, 3, 3, group, padding=(1, 0)), group, maps, input="group") < ROUNDING
    with pytest.raises(ValueError, match="require square images"):
        equivariance_error(nn.Identity(), "C4", maps, input="group")


@pytest.mark.parametrize("name", ["C8", "D8", "C16"])
@pytest.mark.parametrize("kernel_size", [3, 4])
def test_filters_between_pixels(name, kernel_size):
    """Quarter turns are exact. At other angles maps of a smooth image nearly rotate, unlike those of free filters."""
    group = Group(name)
    axis = torch.linspace(-3, 3, 24)
    hill = torch.exp(-((axis - 0.6) ** 2 + 2 * (axis[:, None] + 0.4) ** 2))[None]
    errors = equivariance_error(
        LiftingConv2d(1, 6, kernel_size, group, padding=1, generator=torch.Generator().manual_seed(0)),
        group,
        hill,
        per_element=True,
    )
    quarters = (group.angles % 90 == 0).numpy()
    assert errors[quarters].max() < ROUNDING
    assert errors.max() < 0.05
    free = nn.Conv2d(1, 6 * group.order, kernel_size, padding=1)
    assert equivariance_error(free, group, hill) > 0.5


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_no_parameter_grows_with_what_is_expanded(kernel_size):
    for name in ("C4", "C8"):
        layer = GroupConv2d(2, 3, kernel_size, name)
        assert layer.weight.numel() == 3 * 2 * layer.group.order * kernel_size**2
        assert layer.filters().shape == (3 * layer.group.order, 2 * layer.group.order, kernel_size, kernel_size)
        assert set(layer.state_dict()) == {"weight", "bias"}
    assert ProjectingConv2d(2, 3, kernel_size, "D4", bias=False).weight.numel() == 2 * 3 * kernel_size**2


@pytest.mark.parametrize("name", ["C4", "C8"])
def test_gradient(name):
    layers = nn.Sequential(
        LiftingConv2d(1, 1, 3, name), GroupConvTranspose2d(1, 1, 2, name), ProjectingConv2d(1, 1, 2, name)
    ).double()
    parameters = dict(layers.named_parameters())
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)

    def run(*values):
        return torch.func.functional_call(layers, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, tuple(parameters.values()), fast_mode=True)


def test_transposed_is_the_way_back():
    """<conv x, y> = <x, transposed conv y> if both have the same weights, with inverted elements."""
    group = Group("D4")
    forward = GroupConv2d(2, 3, 4, group, stride=2, padding=1, bias=False)
    back = GroupConvTranspose2d(3, 2, 4, group, stride=2, padding=1, bias=False)
    filters = forward.filters().view(3, 8, 2, 8, 4, 4)
    back.weight.data = filters[:, :, :, 0].transpose(0, 2).transpose(1, 2).contiguous()
    x, y = torch.randn(1, 16, 6, 6), torch.randn(1, 24, 3, 3)
    torch.testing.assert_close((forward(x) * y).sum(), (x * back(y)).sum(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (LiftingConv2d(1, 1, 3, "C4", stride=2, padding=1), 8),
        (LiftingConv2d(1, 1, 4, "C4", stride=2, padding=1), 9),
        (GroupConv2d(1, 1, 2, "C2", stride=3), 6),
        (GroupPool2d(2), 7),
        (GroupPool2d(3, padding=1), 8),
    ],
)
def test_strides_that_are_not_exact_are_refused(layer, size):
    with pytest.raises(ValueError, match=r"size \+ 2 padding - kernel_size must be a multiple"):
        layer(torch.zeros(1, getattr(layer, "group", Group("C1")).order, size, size))


def test_other_refusals():
    with pytest.raises(ValueError, match="doubles 4 pixels to 8 or 7, not 9"):
        GroupUpsample2d(9)(torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match="mode must be"):
        GroupPool2d(2, mode="median")
    with pytest.raises(ValueError, match="group must be"):
        GroupConv2d(1, 1, 3, "S4")
    images = torch.rand(1, 4, 4)
    with pytest.raises(ValueError, match='output="group" does not accept'):
        equivariance_error(nn.Conv2d(1, 3, 1), "C4", images)
    with pytest.raises(ValueError, match="requires a multiple of"):
        equivariance_error(nn.Identity(), "C4", images, input="group")
    corner = torch.zeros(2, 4, 4)
    corner[0, 0, 0] = 1
    with pytest.raises(ValueError, match="for transformed images"):
        equivariance_error(lambda x: x[x[:, 0, 0, 0] > 0], "C4", corner, output="invariant")


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
def test_export(name):
    network = _network(name, 8).eval()
    x = torch.randn(2, 2, 8, 8)
    exported = torch.export.export(network, (x,)).module()
    assert_close(exported(x), network(x))


def test_generator_draws_all():
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    first, second = _network("C4", 8), _network("C4", 8)
    assert torch.equal(torch.rand(1), before)
    for name, value in first.state_dict().items():
        assert_close(value, second.state_dict()[name])


def test_same_on_the_device(device):
    network = _network("D4", 8).eval().to(device)
    images = _maps(Group("C1"), 8).to(device)
    assert equivariance_error(network, "D4", images, output="image") < (ROUNDING if device == "cpu" else 2e-3)


@pytest.mark.filterwarnings("ignore")  # of the exporter's own making
@pytest.mark.parametrize("name", ["D4", "C8"])
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = _network(name, 8).eval()
    x = torch.randn(2, 2, 8, 8)
    torch.onnx.export(network, (x,), dynamo=True, verbose=False).save(str(tmp_path / "network.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(answer, network(x).detach(), atol=1e-5)
