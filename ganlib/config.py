"""What a run is: one frozen, documented, bounded value.

A configuration comes from a recipe (``ganlib/recipes/*.yaml``) with overrides by dotted field name
(:func:`load_config`). Two runs whose configurations have the same :attr:`RunConfig.digest` on the
same dataset version are the same work. :class:`Compute` says with what the work is done, not what
it is, and stays out of the digest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganlib.errors import ConfigError, UnknownName
from ganlib.records import digest_of

NormName = Literal["batch", "layer", "group", "none"]

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Lower-case letters, digits and dashes, at most 63: fit for keys, model names and job ids."""


class Part(BaseModel):
    """Base of the parts: frozen, unknown fields refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetConfig(Part):
    """Which pictures, and how they are prepared."""

    name: Name
    size: Literal[28, 32, 64, 128] = 32
    """Side of the square pictures, pixels; there is a network for each."""
    channels: Literal[1, 3] | None = None
    """1 grey, 3 colour, ``None``: 1 for IDX files, 3 for picture files."""
    fit: Literal["crop", "stretch"] = "crop"
    """How a picture that is not square becomes so."""
    flip: bool = False
    """Mirror every other training picture left to right, others in each epoch. Not for clothes' logos,
    digits, or whatever else has a left and a right."""


class DcganConfig(Part):
    """The DCGAN pair (arXiv:1511.06434)."""

    kind: Literal["dcgan"] = "dcgan"
    latent_dim: int = Field(default=100, ge=1, le=1024)
    generator_width: int = Field(default=64, ge=4, le=512)
    """Channels of the generator's largest hidden feature map."""
    critic_width: int = Field(default=64, ge=4, le=512)
    """Channels of the critic's largest hidden feature map."""
    generator_norm: NormName = "batch"
    critic_norm: NormName = "batch"
    extra_layers: int = Field(default=0, ge=0, le=16)
    """3×3 convolutions that each network has beside, at its largest hidden feature map."""
    conditional: bool = False
    """Whether pictures are made by label; the dataset must have classes."""

    @property
    def normalizes_batches(self) -> bool:
        """Whether a picture's result depends on those beside it."""
        return "batch" in (self.generator_norm, self.critic_norm)


Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=16_384)], ...], Field(min_length=1, max_length=16)]


class DenseConfig(Part):
    """The fully connected pair."""

    kind: Literal["dense"] = "dense"
    latent_dim: int = Field(default=100, ge=1, le=1024)
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
        """Whether a picture's result depends on those beside it."""
        return False


class WassersteinConfig(Part):
    """WGAN with weight clipping (arXiv:1701.07875)."""

    kind: Literal["wasserstein"] = "wasserstein"
    clip: float = Field(default=0.01, gt=0, le=10)
    """Every critic parameter is kept in [−clip, clip]."""


class WassersteinGradientPenaltyConfig(Part):
    """WGAN with gradient penalty (arXiv:1704.00028)."""

    kind: Literal["wasserstein-gp"] = "wasserstein-gp"
    penalty: float = Field(default=10.0, gt=0, le=10_000)
    """Weight of the penalty."""


class NonSaturatingConfig(Part):
    """The non-saturating loss (arXiv:1406.2661)."""

    kind: Literal["non-saturating"] = "non-saturating"
    real_label: float = Field(default=0.9, gt=0.5, le=1)
    """What real pictures are to be called; below 1 it is one-sided label smoothing."""


class CadenceConfig(Part):
    """Critic steps for each generator step."""

    n_critic: int = Field(default=5, ge=1, le=100)
    bursts: bool = True
    """100 critic steps for each of the first 25 generator steps and at every 500th, as in the
    authors' code."""


class RmspropConfig(Part):
    """RMSprop for both networks, as in the WGAN paper: momentum unsettles a clipped critic."""

    kind: Literal["rmsprop"] = "rmsprop"
    generator_learning_rate: float = Field(default=5e-5, gt=0, le=1)
    critic_learning_rate: float = Field(default=5e-5, gt=0, le=1)


class AdamConfig(Part):
    """Adam for both networks."""

    kind: Literal["adam"] = "adam"
    generator_learning_rate: float = Field(default=1e-4, gt=0, le=1)
    critic_learning_rate: float = Field(default=1e-4, gt=0, le=1)
    beta1: float = Field(default=0.0, ge=0, lt=1)
    """Of the mean of gradients."""
    beta2: float = Field(default=0.9, ge=0, lt=1)
    """Of the mean of their squares."""


class ScheduleConfig(Part):
    """Learning rates over the run."""

    kind: Literal["constant", "linear"] = "constant"
    """``linear``: the full rate up to ``decay_from`` of ``budget.total_kimg``, then down to 0 at its end."""
    decay_from: float = Field(default=0.5, ge=0, lt=1)


class AveragingConfig(Part):
    """Moving average of the generator."""

    half_life_kimg: float = Field(default=10.0, ge=0, le=10_000)
    """Thousand images after which an old weight counts half; 0 publishes the raw generator."""
    warmup: float = Field(default=0.05, gt=0, le=1)
    """The half-life is at most this share of the images seen so far."""


class BudgetConfig(Part):
    """When a run ends: at whichever limit comes first."""

    total_kimg: float = Field(default=1000.0, gt=0, le=1_000_000)
    """Thousand real pictures that the critic sees."""
    max_seconds: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """Seconds in the loop, evaluations and start-up not counted; ``None``: no such limit."""


class EvaluationConfig(Part):
    """Distance to the held-out split."""

    every_kimg: float = Field(default=100.0, gt=0, le=1_000_000)
    samples: int = Field(default=2000, ge=16, le=100_000)
    """Generated pictures in the evaluation of the finished run: the metric ``fd_<extractor>``."""
    curve_samples: int = Field(default=500, ge=16, le=100_000)
    """Generated pictures in the evaluations during the run: the metric ``fd_<extractor>_curve``. Fewer
    samples make a distance larger, so the two are never one curve."""
    reference_images: int = Field(default=10_000, ge=16, le=1_000_000)
    """Held-out pictures at the most."""
    extractor: Literal["efficientnet_lite0"] = "efficientnet_lite0"


class CheckpointConfig(Part):
    """How often the state is saved; always at evaluations and at the end."""

    every_kimg: float = Field(default=25.0, gt=0, le=1_000_000)


WatchAction = Literal["off", "warn", "stop"]


class WatchConfig(Part):
    """What is to happen when a run looks like a dead end. Values that are not finite always stop it."""

    critic_at_bounds: WatchAction = "warn"
    """All of a clipped critic's weights sit at the bounds."""
    critic_at_bounds_share: float = Field(default=0.99, gt=0, le=1)
    """Share of the weights from which on it counts as all."""
    collapsed_estimate: WatchAction = "warn"
    """The Wasserstein estimate, a mean since the last look, is nearly zero."""
    collapsed_estimate_share: float = Field(default=0.01, gt=0, lt=1)
    """Share of its largest value below which it counts so."""
    one_picture: WatchAction = "warn"
    """The samples are one picture."""
    one_picture_spread: float = Field(default=0.02, gt=0, le=1)
    """Standard deviation of a pixel between samples, pixels in [−1, 1], below which they count so."""


class Compute(Part):
    """With what a run is done; not part of its identity."""

    workers: int = Field(default=2, ge=1, le=1024)
    """Data-parallel processes; the batch is divided between them."""
    max_workers: int | None = Field(default=None, ge=1, le=1024)
    """Makes the run elastic: it takes as many as there is room for, from ``workers`` up to this many, and
    starts anew from its last checkpoint when nodes come or go. ``None``: always ``workers``."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA when the cluster offers a GPU for each worker."""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """``auto``: bf16 where the hardware multiplies it natively, else fp32; ``tf32`` is for CUDA."""
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    """Order of a picture's numbers in memory; ``auto``: channels last."""
    optimizer_kernels: Literal["auto", "foreach", "fused", "loop"] = "auto"
    """All parameters at once in a few calls (``foreach``), in one (``fused``, for Adam), or one after
    another; ``auto``: fused where the optimizer has it and the device is a GPU, else foreach."""
    compilation: Literal["auto", "off", "default", "reduce-overhead"] = "auto"
    """torch.compile's mode for both networks; ``auto``: off. ``reduce-overhead`` uses CUDA graphs."""
    max_failures: int = Field(default=3, ge=0, le=1000)
    """Times that a run whose workers died is taken up again from its last checkpoint."""


NetworkConfig = Annotated[DcganConfig | DenseConfig, Field(discriminator="kind")]
ObjectiveConfig = Annotated[
    WassersteinConfig | WassersteinGradientPenaltyConfig | NonSaturatingConfig, Field(discriminator="kind")
]
OptimizerConfig = Annotated[RmspropConfig | AdamConfig, Field(discriminator="kind")]

KINDS = {"network": "dcgan", "objective": "wasserstein", "optimizer": "rmsprop"}
"""The parts that come in several kinds, with the kind that is meant when none is named."""


class RunConfig(Part):
    """A whole run."""

    recipe: Name
    """Name of the recipe, and of the registered model."""
    dataset: DatasetConfig
    network: NetworkConfig = DcganConfig()
    objective: ObjectiveConfig = WassersteinConfig()
    cadence: CadenceConfig = CadenceConfig()
    optimizer: OptimizerConfig = RmspropConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    averaging: AveragingConfig = AveragingConfig()
    batch_size: int = Field(default=64, ge=2, le=65_536)
    """Pictures in a step, over all workers."""
    budget: BudgetConfig = BudgetConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    watch: WatchConfig = WatchConfig()
    seed: int = Field(default=0, ge=0, lt=2**31)
    compute: Compute = Compute()

    @model_validator(mode="before")
    @classmethod
    def _usual_kinds(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        parts = {
            name: {"kind": kind, **values[name]}
            for name, kind in KINDS.items()
            if isinstance(values.get(name), Mapping)
        }
        return {**values, **parts}

    @model_validator(mode="after")
    def _penalty_without_batch_norm(self) -> RunConfig:
        critic_norm = getattr(self.network, "critic_norm", "none")
        if self.objective.kind == "wasserstein-gp" and critic_norm == "batch":
            raise ValueError(
                "network.critic_norm = batch cannot go with objective.kind = wasserstein-gp, whose penalty "
                "belongs to each picture by itself; choose layer, group or none"
            )
        return self

    @model_validator(mode="after")
    def _kernels_exist(self) -> RunConfig:
        if self.compute.optimizer_kernels == "fused" and self.optimizer.kind == "rmsprop":
            raise ValueError(
                "compute.optimizer_kernels = fused cannot go with optimizer.kind = rmsprop, which torch has "
                "no fused kernels for; choose foreach"
            )
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> RunConfig:
        few, many = self.compute.workers, self.compute.max_workers or self.compute.workers
        if many < few:
            raise ValueError(
                f"compute.max_workers {many} must not be below compute.workers {few}, the fewest of them"
            )
        uneven = [workers for workers in range(few, many + 1) if self.batch_size % workers]
        if uneven:
            elastic = f", one of the counts up to compute.max_workers {many}" if many > few else ""
            raise ValueError(
                f"batch_size {self.batch_size} cannot be divided between compute.workers {uneven[0]}"
                f"{elastic}; choose a multiple of {math.lcm(*range(few, many + 1))}"
            )
        if self.batch_size // many < 2 and self.network.normalizes_batches:
            raise ValueError(
                f"batch_size {self.batch_size} leaves compute.workers {many} one picture "
                "each, and batch norm needs two; raise batch_size or lower compute.workers"
            )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result; :class:`Compute` does not."""
        return digest_of(self.model_dump(mode="json", exclude={"compute"}))

    def flat(self) -> dict[str, str]:
        """Dotted field names with their values as text, for a tracker's parameters."""
        return dict(_flatten(self.model_dump(mode="json")))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def recipes() -> list[str]:
    """Names of the recipes that come with ganlib."""
    folder = resources.files("ganlib") / "recipes"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(recipe: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A recipe with some fields changed.

    Args:
        recipe: One of :func:`recipes`.
        overrides: Dotted field names with values: ``{"objective.clip": 0.02, "seed": 7}``.

    Raises:
        UnknownName: No such recipe, or no such field.
        ConfigError: A value is out of bounds; the message names field, value and bound.
    """
    if recipe not in recipes():
        raise UnknownName("recipe", recipe, recipes())
    text = (resources.files("ganlib") / "recipes" / f"{recipe}.yaml").read_text()
    values: dict[str, Any] = {"recipe": recipe, **yaml.safe_load(text)}
    # Kinds go first: another kind has other fields, and keeps none of the recipe's.
    for field, value in sorted((overrides or {}).items(), key=lambda item: not item[0].endswith(".kind")):
        _override(values, field, value)
    return build_config(values)


def build_config(values: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain values. Raises as :func:`load_config`."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        kind = path.pop(1) if len(path) > 1 and path[0] in KINDS else None
        field = ".".join(path)
        if first["type"] == "extra_forbidden":
            names = [name for name, _ in known_fields()]
            if field in names:
                raise ConfigError(
                    f"{field} = {first['input']!r} cannot be used: {path[0]} {kind} has none"
                ) from error
            raise UnknownName("field", field, names) from error
        message = first["msg"].removeprefix("Value error, ")
        if not field:
            raise ConfigError(message) from error
        raise ConfigError(f"{field} = {first['input']!r} cannot be used: {message}") from error


def known_fields(model: type[BaseModel] = RunConfig, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names of all fields, with their types."""
    rows: list[tuple[str, Any]] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        parts = [
            part for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, Part)
        ]
        for part in parts:
            rows += known_fields(part, f"{prefix}{name}.")
        if not parts:
            rows.append((f"{prefix}{name}", kind))
    return list(dict(rows).items())


def _override(values: dict[str, Any], field: str, value: Any) -> None:
    names = [name for name, _ in known_fields()]
    if field not in names or field == "recipe":
        raise UnknownName("field", field, [name for name in names if name != "recipe"])
    *parents, last = field.split(".")
    for parent in parents:
        part = dict(values.get(parent) or {})
        if parent in KINDS and last == "kind" and part.get("kind", KINDS[parent]) != value:
            part = {}
        values[parent] = part
        values = part
    values[last] = value
