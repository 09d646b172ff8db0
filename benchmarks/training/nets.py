"""Three small nets, trained on real scans of digits (scikit-learn's) and exported with a variable batch."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEST_ROWS = 540
_BATCH = 64
_WIDTH = 32  # channels of the conv net's first stage
# (channels as a multiple of _WIDTH, stride) of each 3x3 convolution, as tests/zoo/nets.py has them.
_STAGES = ((1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1))
_PATCHES, _PATCH, _HIDDEN, _LAYERS, _HEADS = 16, 4, 128, 4, 4


@dataclass(frozen=True)
class Net:
    """A trained net as ONNX, with the data that it was trained and is judged on.

    Attributes:
        x: The input's rows, FP32 [rows, ...]; of `train` and `test` rows, which share none.
    """

    name: str
    told: str
    model: Any
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def trained(name: str, epochs: int | None = None) -> Net:
    """Train a net on one thread, from one seed, and export it.

    Args:
        name: `mlp`: 64-64-64-10 over 8x8 pixels. `conv`: seven 3x3 convolutions with batch normalisation over
            the scan at 32x32, about 95 MFLOP a row. `transformer`: four layers of 128 over 16 patches of 2x2,
            about 26 MFLOP a row.
        epochs: Over the 1,257 rows; by default what the net needs.
    """
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    digits = load_digits()
    pixels, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    places = np.random.default_rng(0).permutation(len(pixels))
    shaped, make, default, rate = _NETS[name]
    rows = np.ascontiguousarray(shaped(pixels))
    train, test = places[:-_TEST_ROWS], places[-_TEST_ROWS:]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = make()
    x, y = torch.from_numpy(rows[train]), torch.from_numpy(labels[train])
    steps = (epochs or default) * (len(train) // _BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs or default):
        order = torch.randperm(len(train))[: len(train) // _BATCH * _BATCH]
        for batch in order.split(_BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision is not there
    exported = torch.onnx.export(
        net,
        (x[:2],),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["x"],
        output_names=["scores"],
        verbose=False,
    )
    count = sum(parameter.numel() for parameter in net.parameters())
    return Net(name, f"{count:,} weights", exported.model_proto, rows[train], rows[test], labels[test])


def _flat(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return pixels


def _images(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, 1, 32, 32]: each pixel four by four times."""
    return np.kron(pixels.reshape(-1, 8, 8), np.ones((1, 4, 4), np.float32))[:, None]


def _patches(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, 16, 4]: patches of 2x2, row by row."""
    return pixels.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, _PATCHES, _PATCH)


def _mlp() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _conv() -> Any:
    from torch import nn

    layers: list[Any] = []
    channels = 1
    for factor, stride in _STAGES:
        out = factor * _WIDTH
        layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _transformer() -> Any:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(_PATCH, _HIDDEN)
            self.place = nn.Parameter(torch.randn(_PATCHES, _HIDDEN) * 0.5)
            layer = nn.TransformerEncoderLayer(
                _HIDDEN, _HEADS, 4 * _HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
            self.head = nn.Linear(_HIDDEN, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(self.embed(x) + self.place).mean(1))

    return Encoder()


# How rows are shaped, the net, its epochs and its largest learning rate.
_NETS: dict[str, Any] = {
    "mlp": (_flat, _mlp, 60, 5e-3),
    "conv": (_images, _conv, 3, 3e-3),
    "transformer": (_patches, _transformer, 10, 1e-3),
}
NAMES = tuple(_NETS)
