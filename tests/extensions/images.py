"""Classifiers of images whose graphs begin with their decoder, and the same with Pillow and NumPy.

Pillow is imported where it is used: what needs it is not run under sanitizers.
"""

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft.extensions"
SIDE = 8
MEAN = np.array([120, 110, 100], dtype=np.float32)
LABELS = (b"sea", b"sand", b"palm")
SAMPLES = Path(__file__).parent / "samples"


def weights() -> npt.NDArray[np.float32]:
    """From the pixels [SIDE * SIDE * 3] to the labels."""
    return np.random.default_rng(3).standard_normal((SIDE * SIDE * 3, len(LABELS)), dtype=np.float32)


def _of_pixels(jpeg: str, prefix: str = "") -> list[onnx.NodeProto]:
    """Nodes from the bytes `jpeg` to `small` FP32 [1, SIDE, SIDE, 3]."""
    names = {name: prefix + name for name in ("pixels", "numbers", "one", "small")}
    return [
        helper.make_node("DecodeImage", [jpeg], [names["pixels"]], domain=DOMAIN, color_space="rgb"),
        helper.make_node("Cast", [names["pixels"]], [names["numbers"]], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", [names["numbers"], "zero"], [names["one"]]),
        helper.make_node(
            "Resize",
            [names["one"], "", "", "sizes"],
            [names["small"]],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]


def _of_small(small: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Sub", [small, "mean"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["score"]),
        helper.make_node("ArgMax", ["score"], ["place"], axis=1, keepdims=0),
        helper.make_node("Gather", ["labels", "place"], ["label"]),
    ]


def _model(nodes: list[onnx.NodeProto], shape: list[str], rows: str | int) -> onnx.ModelProto:
    constants = {
        "zero": np.array([0]),
        "sizes": np.array([1, SIDE, SIDE, 3]),
        "mean": MEAN,
        "flat": np.array([-1, SIDE * SIDE * 3]),
        "weights": weights(),
    }
    labels = helper.make_tensor("labels", TensorProto.STRING, [len(LABELS)], list(LABELS))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [rows]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [rows, len(LABELS)]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, shape)
    initializers = [*(numpy_helper.from_array(array, name) for name, array in constants.items()), labels]
    graph = helper.make_graph(nodes, "images", [image], outputs, initializers)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def image_classifier() -> onnx.ModelProto:
    """Build `image` UINT8 [bytes] -> `label` BYTES [1], `score` FP32 [1, 3]: one image a request."""
    return _model([*_of_pixels("image"), *_of_small("small")], ["bytes"], 1)


def batch_classifier() -> onnx.ModelProto:
    """Build `image` UINT8 [rows, bytes] -> `label` BYTES [rows], `score` FP32 [rows, 3].

    A row is an image and zeros behind it, which decoders do not look at.
    """
    body = helper.make_graph(
        [*_of_pixels("bytes", "in_"), helper.make_node("Squeeze", ["in_small", "zero"], ["one_small"])],
        "each",
        [helper.make_tensor_value_info("bytes", TensorProto.UINT8, None)],
        [helper.make_tensor_value_info("one_small", TensorProto.FLOAT, [SIDE, SIDE, 3])],
    )
    scan = helper.make_node("Scan", ["image"], ["small"], body=body, num_scan_inputs=1)
    return _model([scan, *_of_small("small")], ["rows", "bytes"], "rows")


def scores_of(image: bytes) -> npt.NDArray[np.float32]:
    """The score of each label, decoded by Pillow."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), dtype=np.float32)
    height, width, _ = pixels.shape
    rows, columns = np.arange(SIDE) * height // SIDE, np.arange(SIDE) * width // SIDE
    return (pixels[rows][:, columns] - MEAN).reshape(-1) @ weights()


def picture(seed: int, form: str = "JPEG", **options: object) -> bytes:
    """An image of soft blobs, of a size of its own."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    size = (int(generator.integers(40, 90)), int(generator.integers(40, 90)))
    written = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(written, form, **options)
    return written.getvalue()


def sample(name: str) -> bytes:
    """A small image: `blobs.jpg`, `progressive.jpg` or `squares.png`."""
    return (SAMPLES / name).read_bytes()


def as_array(image: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(image, dtype=np.uint8)


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its frame header (SOF0, SOF2)."""
    changed, at = bytearray(jpeg), 2
    while changed[at + 1] not in (0xC0, 0xC2):
        at += 2 + struct.unpack(">H", changed[at + 2 : at + 4])[0]
    changed[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


def hostile() -> dict[str, bytes]:
    """Bytes that are no image that could be answered, by what is wrong with them."""
    jpeg, png = sample("blobs.jpg"), sample("squares.png")
    return {
        "cut in its head": jpeg[:20],
        "cut before its pixels": jpeg[: len(jpeg) // 2],
        "cut in its pixels": jpeg[:-40],
        "no image": b"hello world" * 10,
        "nothing but a marker": b"\xff\xd8",
        "another format": b"GIF89a" + b"\0" * 50,
        "no pixels": with_size(jpeg, 0, 0),
        "huge": with_size(jpeg, 65500, 65500),
        "huge and progressive": with_size(sample("progressive.jpg"), 65500, 65500),
        "a cut PNG": png[:60],
        "a PNG of one wrong byte": png[:50] + b"\xaa" + png[51:],
    }
