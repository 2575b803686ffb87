"""The parts of a run's configuration: frozen, every field documented, bounded, with its unit.

:class:`ganlib.config.run.RunConfig` puts them together, and checks what concerns several of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ganlib.field_words import Words
from ganlib.names import UNKNOWN_LICENCE, Licence, Name


class ConfigPart(BaseModel):
    """Base of the parts: frozen, unknown fields refused, numbers finite.

    The text below each field is its description, which ``ganlib config show`` prints: plain words, no markup.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


MOST_REFUSED = 0.01
"""Largest share of a dataset's pictures that may be unusable, unless another is given."""


class DatasetConfig(ConfigPart):
    """Which pictures, and how they are prepared."""

    name: Name
    """Name of the dataset in the object store."""
    size: Literal[28, 32, 64, 128, 256] = 32
    """Side of the square pictures, pixels; there is a network for each, for 256 network.kind = resnet."""
    channels: Literal[1, 3] | None = None
    """1 grey, 3 colour, null: 1 for IDX files, 3 for picture files."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """Method by which a picture becomes square: crop takes its middle, stretch takes all of it and changes
    its shape, pad takes all of it and fills up with the background."""
    background: Annotated[str, Words("a colour like #ffffff, in lower case")] = Field(
        default="#ffffff", pattern=r"^#[0-9a-f]{6}\z"
    )
    """Colour behind transparent pictures, and around padded ones."""
    most_refused: float = Field(default=MOST_REFUSED, ge=0, le=1)
    """Largest share of the raw pictures that may be unusable before preparing them fails."""
    flip: bool = False
    """Mirror every other training picture left to right, others in each epoch. Not for clothes' logos,
    digits, or whatever else has a left and a right."""
    licence: Licence = UNKNOWN_LICENCE
    """Licence of the pictures, for the generator's card: MIT, CC-BY-4.0, or a sentence; unknown takes the one
    that was stated when the dataset was added."""


class CadenceConfig(ConfigPart):
    """Critic steps for each generator step."""

    n_critic: int = Field(default=5, ge=1, le=100)
    """Critic steps before each generator step."""
    bursts: bool = True
    """100 critic steps for each of the first 25 generator steps and at every 500th, as in the
    authors' code."""


class RmspropConfig(ConfigPart):
    """RMSprop for both networks, as in the WGAN paper: momentum unsettles a clipped critic."""

    kind: Literal["rmsprop"] = "rmsprop"
    """Optimizer of both networks."""
    generator_learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """The generator's learning rate."""
    critic_learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """The critic's learning rate."""


class AdamConfig(ConfigPart):
    """Adam for both networks."""

    kind: Literal["adam"] = "adam"
    """Optimizer of both networks."""
    generator_learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """The generator's learning rate."""
    critic_learning_rate: float = Field(default=1e-4, gt=0, le=1)
    """The critic's learning rate."""
    beta1: float = Field(default=0.0, ge=0, lt=1)
    """Decay rate of the gradient's running mean."""
    beta2: float = Field(default=0.9, ge=0, lt=1)
    """Decay rate of the squared gradient's running mean."""


class ScheduleConfig(ConfigPart):
    """Learning rates over the run."""

    kind: Literal["constant", "linear"] = "constant"
    """linear: the full rate up to decay_from of budget.total_kimg, then down to 0 at its end."""
    decay_from: float = Field(default=0.5, ge=0, lt=1)
    """Share of budget.total_kimg after which a linear schedule begins to fall."""


class AveragingConfig(ConfigPart):
    """Moving average of the generator."""

    half_life_kimg: float = Field(default=10.0, ge=0, le=10_000)
    """Thousand images after which an old weight counts half; 0 publishes the raw generator."""
    warmup: float = Field(default=0.05, gt=0, le=1)
    """The half-life is at most this share of the images seen so far."""


class BudgetConfig(ConfigPart):
    """Limits of a run, which ends at the first that it reaches."""

    total_kimg: float = Field(default=1000.0, gt=0, le=1_000_000)
    """Thousand real pictures that the critic sees; the run ends at the first generator step at or after."""
    max_seconds: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """Seconds in the loop, evaluations and start-up not counted; null: no such limit."""


class EvaluationConfig(ConfigPart):
    """Distance to the held-out split."""

    every_kimg: float = Field(default=100.0, gt=0, le=1_000_000)
    """Thousand pictures from one evaluation during the run to the next."""
    samples: int = Field(default=2000, ge=16, le=100_000)
    """Generated pictures in the evaluation of the finished run: the metric fd_<extractor>."""
    curve_samples: int = Field(default=500, ge=16, le=100_000)
    """Generated pictures in the evaluations during the run: the metric fd_<extractor>_curve. Fewer
    samples make a distance larger, so the two are never one curve."""
    reference_images: int = Field(default=10_000, ge=16, le=1_000_000)
    """Held-out pictures at the most."""
    extractor: Literal["efficientnet_lite0", "inception", "classifier"] = "efficientnet_lite0"
    """Network that computes the features. inception is the standard network of the FID; classifier
    is trained on the dataset's own labels."""
    weights: str | None = None
    """Where the weights of inception are: a path, or s3://BUCKET/KEY. Needed once: the object store
    keeps them. What they are is fixed, so this is no part of a run's identity."""

    @property
    def metric(self) -> str:
        """Name of the Fréchet distance over these features."""
        return "fid" if self.extractor == "inception" else f"fd_{self.extractor}"

    @model_validator(mode="after")
    def _weights_are_of_inception(self) -> EvaluationConfig:
        if self.weights is not None and self.extractor != "inception":
            raise ValueError(
                f"evaluation.weights cannot go with evaluation.extractor = {self.extractor}, which has its "
                "own; choose inception, or leave weights out"
            )
        return self


class CheckpointConfig(ConfigPart):
    """Intervals of saving the state, which is also saved at evaluations and at the end."""

    every_kimg: float = Field(default=25.0, gt=0, le=1_000_000)
    """Thousand pictures from one saved state to the next."""


WatchAction = Literal["off", "warn", "stop"]


class WatchConfig(ConfigPart):
    """Reactions to a run that looks like a dead end. Values that are not finite always stop it."""

    critic_at_bounds: WatchAction = "warn"
    """All of a clipped critic's weights sit at the bounds."""
    critic_at_bounds_share: float = Field(default=0.99, gt=0, le=1)
    """Share of the weights that counts as all."""
    collapsed_estimate: WatchAction = "warn"
    """The Wasserstein estimate, a mean since the last look, is nearly zero."""
    collapsed_estimate_share: float = Field(default=0.01, gt=0, lt=1)
    """Share of its largest value below which it counts as nearly zero."""
    one_picture: WatchAction = "warn"
    """The samples are one picture."""
    one_picture_spread: float = Field(default=0.02, gt=0, le=1)
    """Standard deviation of a pixel between samples, pixels in [−1, 1], below which they are one picture."""


class Compute(ConfigPart):
    """Resources and number formats of a run; not part of its identity."""

    workers: int = Field(default=2, ge=1, le=1024)
    """Data-parallel processes; the batch is divided between them."""
    max_workers: int | None = Field(default=None, ge=1, le=1024)
    """Makes the run elastic: it takes as many as there is room for, from workers up to this many, and
    starts anew from its last checkpoint when nodes come or go. null: always workers."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA when the cluster offers a GPU for each worker."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32; tf32 is for CUDA."""
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of a picture's numbers in memory; auto: channels last."""
    optimizer_kernels: Literal["auto", "foreach", "fused", "loop"] = "auto"
    """All parameters at once in a few calls (foreach), in one (fused, for Adam), or one after
    another; auto: fused where the optimizer has it, else foreach."""
    compilation: Literal["auto", "off", "default", "reduce-overhead"] = "auto"
    """torch.compile's mode for both networks; auto: off. reduce-overhead uses CUDA graphs."""
    max_failures: int = Field(default=3, ge=0, le=1000)
    """Times that a run whose workers died is taken up again from its last checkpoint."""


class GateConfig(ConfigPart):
    """Conditions for a new generator to become the champion; not part of a run's identity."""

    margin: float = Field(default=0.02, ge=0, lt=1)
    """Share of the champion's kernel distance by which the candidate's must be smaller."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """Confidence level of the difference's bootstrap interval, all of which must lie below 0."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap samples behind the interval."""
    better_than_untrained: bool = True
    """Whether a model's first champion must be nearer to held-out pictures than an untrained generator."""
    min_copying_ratio: float = Field(default=0.5, ge=0, le=10)
    """Distance of generated pictures to the nearest training picture, over that of held-out pictures; a
    generator below it repeats what it has seen."""
    min_recall_share: float = Field(default=0.8, ge=0, le=1)
    """Share of the champion's recall that the candidate must keep: a better distance is not to be had by
    making fewer kinds of pictures."""
