"""The configuration of a run: one frozen, documented, bounded value.

A configuration comes from a recipe (``ganlib/recipes/*.yaml``) with overrides by dotted field name
(:func:`load_config`). Two runs whose configurations have the same :attr:`RunConfig.digest` on the
same dataset version are the same work. What says with what the work is done (``compute``) or what becomes
of its result (``gate``) is not part of that (:data:`OUTSIDE_IDENTITY`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from ganlib.config.combinations import misfits
from ganlib.config.complaints import complaints
from ganlib.config.fields import ConfigField, fields_of, unknown_field
from ganlib.config.network_parts import DcganConfig, DenseConfig, ResnetConfig
from ganlib.config.objective_parts import (
    AugmentationConfig,
    HingeConfig,
    NonSaturatingConfig,
    R1Config,
    WassersteinConfig,
    WassersteinGradientPenaltyConfig,
)
from ganlib.config.parts import (
    AdamConfig,
    AveragingConfig,
    BudgetConfig,
    CadenceConfig,
    CheckpointConfig,
    Compute,
    ConfigPart,
    DatasetConfig,
    EvaluationConfig,
    GateConfig,
    RmspropConfig,
    ScheduleConfig,
    WatchConfig,
)
from ganlib.errors import ConfigError, UnknownName, together
from ganlib.names import Name
from ganlib.records import digest_of

NetworkConfig = Annotated[DcganConfig | ResnetConfig | DenseConfig, Field(discriminator="kind")]
ObjectiveConfig = Annotated[
    WassersteinConfig | WassersteinGradientPenaltyConfig | NonSaturatingConfig | HingeConfig,
    Field(discriminator="kind"),
]
OptimizerConfig = Annotated[RmspropConfig | AdamConfig, Field(discriminator="kind")]

KINDS = {"network": "dcgan", "objective": "wasserstein", "optimizer": "rmsprop"}
"""The parts that come in several kinds, with the kind that is meant when none is named."""


OUTSIDE_IDENTITY: dict[str, bool | set[str]] = {
    "compute": True,
    "dataset": {"background", "licence", "most_refused"},  # what these make of pictures is in its digest
    "evaluation": {"weights"},  # where they lie; what they are is known by their digest
    "gate": True,
    "name": True,  # where the result is published; one training can serve two models
}
"""Parts, or fields of a part, in which two configurations may differ and still mean the same work."""


_LATER_PARTS = {"augmentation", "r1"}
"""Parts that runs were stored without: with their defaults they are left out of the digest, so that those
runs are found again."""


_LONGEST_NAME = 63
"""Characters of a :data:`~ganlib.names.Name`."""


def outside_identity(field: str) -> bool:
    """Whether a field, dotted, is one of :data:`OUTSIDE_IDENTITY`."""
    part, _, name = field.partition(".")
    outside = OUTSIDE_IDENTITY.get(part, False)
    return name in outside if isinstance(outside, set) else outside


class RunConfig(ConfigPart):
    """A whole run."""

    recipe: Name
    """Name of the recipe."""
    name: Name | None = None
    """Name of the registered model; null: the recipe's name, or RECIPE-DATASET for another dataset."""
    dataset: DatasetConfig
    network: NetworkConfig = DcganConfig()
    objective: ObjectiveConfig = WassersteinConfig()
    r1: R1Config = R1Config()
    augmentation: AugmentationConfig = AugmentationConfig()
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
    gate: GateConfig = GateConfig()
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of weights, noise and order of the pictures."""
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
    def _fields_go_together(self) -> RunConfig:
        found = list(misfits(self))
        if found:
            raise ValueError("\n".join(found))  # a line for each
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result; what is in :data:`OUTSIDE_IDENTITY` does not."""
        usual = {part for part in _LATER_PARTS if getattr(self, part) == type(getattr(self, part))()}
        outside = {**OUTSIDE_IDENTITY, **dict.fromkeys(usual, True)}
        return digest_of(self.model_dump(mode="json", exclude=outside))

    @property
    def model_name(self) -> str:
        """Under which name generators of this configuration are registered, compared and fetched.

        :attr:`name` if it is given; the recipe's name when the dataset is the recipe's own; else
        ``RECIPE-DATASET``, so that another dataset never takes over a recipe's model.
        """
        if self.name is not None:
            return self.name
        if self.dataset.name == _own_dataset(self.recipe):
            return self.recipe
        return _joined(self.recipe, self.dataset.name)

    def flat(self, *, exclude_defaults: bool = False) -> dict[str, str]:
        """Dotted field names with their values as text; on request without those that have their defaults."""
        return dict(_flatten(self.model_dump(mode="json", exclude_defaults=exclude_defaults)))


def _own_dataset(recipe: str) -> str | None:
    """The dataset that a recipe's file names; ``None`` for a recipe that does not come with ganlib."""
    if recipe not in recipes():
        return None
    dataset: str = _recipe(recipe)["dataset"]["name"]
    return dataset


def _joined(recipe: str, dataset: str) -> str:
    """``RECIPE-DATASET``, with a digest when it is too long or could be read as another recipe's."""
    name = f"{recipe}-{dataset}"
    readings = [other for other in recipes() if f"{name}-".startswith(f"{other}-")]
    longest = max(readings, key=len, default=recipe)
    if len(name) <= _LONGEST_NAME and len(longest) <= len(recipe):
        return name
    return f"{name[: _LONGEST_NAME - 9].rstrip('-')}-{digest_of([recipe, dataset])[:8]}"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


def name_of(recipe: str, dataset_digest: str, digest: str, request: str) -> str:
    """The name under which a run or a sweep is found again.

    The same four give the same name, and the same name means: go on with it.

    Raises:
        ConfigError: ``request`` is not 1 to 32 lower-case letters, digits and dashes.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", request):
        raise ConfigError(f"request {request!r} must be 1 to 32 lower-case letters, digits and inner dashes")
    return f"{recipe}-{dataset_digest[:8]}-{digest[:8]}-{request}"


def recipes() -> list[str]:
    """Names of the recipes that come with ganlib."""
    folder = resources.files("ganlib") / "recipes"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _recipe(name: str) -> dict[str, Any]:
    text = (resources.files("ganlib") / "recipes" / f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def _values(name: str) -> dict[str, Any]:
    return {field: value for field, value in _recipe(name).items() if field != "description"}


def recipe_fields(name: str) -> set[str]:
    """Dotted names of the fields that a recipe's file gives."""
    found: set[str] = set()
    for field, value in _values(name).items():
        found |= {f"{field}.{inner}" for inner in value} if isinstance(value, Mapping) else {field}
    return found


def recipe_description(name: str) -> str:
    """Return a line for people about what a recipe trains."""
    return str(_recipe(name)["description"])


def load_config(recipe: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A recipe with some fields changed.

    Args:
        recipe: One of :func:`recipes`.
        overrides: Dotted field names with values: ``{"objective.clip": 0.02, "seed": 7}``.

    Raises:
        UnknownName: No such recipe, or no such field.
        ConfigError: A value is out of bounds, or does not go with others; the message names field, value and
            what is accepted. Several wrong fields are told at once; whether values go together is looked at
            when each is right by itself.
    """
    if recipe not in recipes():
        raise UnknownName("recipe", recipe, recipes(), "`ganlib recipes` tells what they train")
    return _overridden({"recipe": recipe, **_values(recipe)}, overrides or {})


def named(overrides: Mapping[str, Any] | None, name: str | None) -> dict[str, Any]:
    """Overrides with a model's name among them, where one is given.

    Raises:
        ConfigError: The overrides name another one.
    """
    values = dict(overrides or {})
    if name is not None and values.setdefault("name", name) != name:
        raise ConfigError(f"the model is named twice, {values['name']!r} and {name!r}: leave one out")
    return values


def change_config(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """A configuration with some fields changed. Raises as :func:`load_config`."""
    return _overridden(config.model_dump(), overrides)


def _overridden(values: dict[str, Any], overrides: Mapping[str, Any]) -> RunConfig:
    problems: list[ConfigError] = []
    # Kinds go first: another kind has other fields, and keeps none of the recipe's.
    for field, value in sorted(overrides.items(), key=lambda item: not item[0].endswith(".kind")):
        try:
            _override(values, field, value)
        except ConfigError as error:
            problems.append(error)
    try:
        config = build_config(values)
    except ConfigError as error:
        problems.append(error)
    if problems:
        raise together(problems)
    return config


def build_config(values: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain values. Raises as :func:`load_config`."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        remedy = _where_listed(values.get("recipe"))
        raise together(complaints(error, config_fields(), remedy=remedy)) from error


def config_fields() -> tuple[ConfigField, ...]:
    """All fields of a run's configuration; one that several kinds of a part have comes once for each."""
    return fields_of(RunConfig)


def field_names() -> list[str]:
    """Dotted names of the fields that can be changed, each once."""
    return list(dict.fromkeys(field.name for field in config_fields() if field.name != "recipe"))


def _where_listed(recipe: Any) -> str:
    """The command that lists the fields, for a message."""
    return f"`ganlib config show {recipe}` lists all fields" if recipe in recipes() else ""


def read_value(field: str, text: str) -> Any:
    """The value that a text means for a field: in base 10 for a number, as it stands for a name.

    Args:
        field: Dotted name.
        text: As somebody typed it. ``null`` is ``None`` where the field may be that, and ``[256,512]`` or
            ``256,512`` a list.

    Returns:
        The value, or the text itself where it is no value of the field's type: the configuration refuses it.
    """
    text, kinds = text.strip(), value_types(field)
    if type(None) in kinds and text.lower() in {"null", "none"}:
        return None
    if bool in kinds and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if int in kinds and re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if float in kinds:
        try:
            return float(text)
        except ValueError:
            return text
    if tuple in kinds and re.fullmatch(r"\[?[0-9, ]*\]?", text):
        return [int(part) for part in text.strip("[]").split(",") if part.strip()]
    return text


def value_types(field: str) -> set[type]:
    """The Python types that a field's value may have; none when there is no such field."""
    return {kind for known in config_fields() if known.name == field for kind in known.type.types}


def _override(values: dict[str, Any], field: str, value: Any) -> None:
    names = field_names()
    if field not in names:
        raise unknown_field(field, names, _where_listed(values.get("recipe")))
    *parents, last = field.split(".")
    for parent in parents:
        part = dict(values.get(parent) or {})
        if parent in KINDS and last == "kind" and part.get("kind", KINDS[parent]) != value:
            part = {}
        values[parent] = part
        values = part
    values[last] = value
