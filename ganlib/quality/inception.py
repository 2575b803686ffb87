"""The network that the FID is defined over: Inception-v3 as it was in TensorFlow in December 2015."""

from __future__ import annotations

import io

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ganlib.errors import DataError
from ganlib.quality.features import check_pictures
from ganlib.quality.inception_weights import INCEPTION_SHA256, check_digest


class Inception:
    """2,048 pooled features of the standard Inception-v3; the network is torch-fidelity's.

    Grey pictures are repeated to three channels. The resizing belongs to the standard and is not
    antialiased, so enlarged pictures only are judged as they look.

    Args:
        weights: The bytes of a state dictionary that ``torch.save`` wrote.
        device: Torch device to compute on.
        sha256: The digest that the weights must have; only with the standard one is the metric ``fid``.

    Raises:
        DigestMismatch: The weights are others; nothing of them was read but the digest.
        DataError: They are not of this network.
    """

    name = "inception"
    dimensions = 2048
    resizing = "bilinear as in TensorFlow 1, not antialiased, to 299×299, in float32"

    def __init__(
        self, weights: bytes, device: str | torch.device = "cpu", *, sha256: str = INCEPTION_SHA256
    ) -> None:
        check_digest("the weights of inception", weights, sha256)
        self.weights_sha256 = sha256
        self.metric = "fid" if sha256 == INCEPTION_SHA256 else "fd_inception"
        self.device = torch.device(device)
        try:
            state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
            # The network's constructor unpickles its file, so it only gets one written here.
            tensors = io.BytesIO()
            torch.save(state, tensors)
            tensors.seek(0)
            network = FeatureExtractorInceptionV3("inception", ["2048"], tensors)
        # Unpickling may raise anything, and loading a state RuntimeError or AttributeError.
        except Exception as error:
            raise DataError(f"the weights of inception ({sha256}) cannot be loaded: {error}") from error
        self._network = network.to(self.device).to(memory_format=torch.channels_last)
        self._batch = 16 if self.device.type == "cpu" else 128

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [n, 2048] on the CPU, at least 0, of pictures uint8 [n, 1 or 3, h, w]."""
        check_pictures(images)
        features = torch.empty(len(images), self.dimensions)
        for start in range(0, len(images), self._batch):
            part = images[start : start + self._batch].to(self.device).expand(-1, 3, -1, -1)
            features[start : start + self._batch] = self._network(part)[0]
        return features
