"""The parts of a run's configuration that choose its networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ganlib.config.parts import ConfigPart

NormName = Literal["batch", "layer", "group", "none"]
CriticNormName = Literal["batch", "layer", "group", "none", "spectral"]


class DcganConfig(ConfigPart):
    """The DCGAN pair (arXiv:1511.06434)."""

    kind: Literal["dcgan"] = "dcgan"
    """dcgan: convolutions; resnet: residual blocks, up to 256 pixels; dense: fully connected layers."""
    latent_dim: int = Field(default=100, ge=1, le=1024)
    """Random numbers from which the generator makes a picture."""
    generator_width: int = Field(default=64, ge=4, le=512)
    """Channels of the generator's largest hidden feature map."""
    critic_width: int = Field(default=64, ge=4, le=512)
    """Channels of the critic's largest hidden feature map."""
    generator_norm: NormName = "batch"
    """Normalization between the generator's layers."""
    critic_norm: CriticNormName = "batch"
    """Normalization between the critic's layers; batch does not go with a gradient penalty. spectral
    normalizes each weight instead, by its largest singular value (arXiv:1802.05957)."""
    extra_layers: int = Field(default=0, ge=0, le=16)
    """3×3 convolutions that each network has beside, at its largest hidden feature map."""
    conditional: bool = False
    """Whether pictures are made by label; the dataset must have classes."""

    @property
    def normalizes_batches(self) -> bool:
        """Whether a picture's result depends on the others in its batch."""
        return "batch" in (self.generator_norm, self.critic_norm)


class ResnetConfig(ConfigPart):
    """The residual pair (arXiv:1704.00028, arXiv:1802.05957)."""

    kind: Literal["resnet"] = "resnet"
    """dcgan: convolutions; resnet: residual blocks, up to 256 pixels; dense: fully connected layers."""
    latent_dim: int = Field(default=128, ge=1, le=1024)
    """Random numbers from which the generator makes a picture."""
    generator_width: int = Field(default=64, ge=4, le=256)
    """Channels of the generator's largest hidden feature map; up to 16 times as many in smaller ones."""
    critic_width: int = Field(default=64, ge=4, le=256)
    """Channels of the critic's largest hidden feature map; up to 16 times as many in smaller ones."""
    generator_norm: NormName = "batch"
    """Normalization before the generator's activations."""
    critic_norm: CriticNormName = "layer"
    """Normalization before the critic's activations; batch does not go with a gradient penalty. spectral
    normalizes each weight instead, by its largest singular value (arXiv:1802.05957)."""
    conditional: bool = False
    """Whether pictures are made by label; the dataset must have classes."""

    @property
    def normalizes_batches(self) -> bool:
        """Whether a picture's result depends on the others in its batch."""
        return "batch" in (self.generator_norm, self.critic_norm)


Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=16_384)], ...], Field(min_length=1, max_length=16)]


class DenseConfig(ConfigPart):
    """The fully connected pair."""

    kind: Literal["dense"] = "dense"
    """dcgan: convolutions; resnet: residual blocks, up to 256 pixels; dense: fully connected layers."""
    latent_dim: int = Field(default=100, ge=1, le=1024)
    """Random numbers from which the generator makes a picture."""
    generator_widths: Widths = (256, 512, 1024)
    """Features of the generator's hidden layers, from the latent on."""
    critic_widths: Widths = (1024, 512, 256)
    """Features of the critic's hidden layers, from the picture on."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the critic's hidden features that are set to zero in each training step."""
    conditional: bool = False
    """Whether pictures are made by label; the dataset must have classes."""

    @property
    def normalizes_batches(self) -> bool:
        """Whether a picture's result depends on the others in its batch."""
        return False
