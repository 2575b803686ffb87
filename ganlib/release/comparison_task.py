"""A comparison that is to be made: all that its result depends on, and where the result lies."""

from __future__ import annotations

from ganlib.errors import ObjectMissing
from ganlib.names import Name
from ganlib.ports import ObjectStore
from ganlib.records import Comparison, Record, RegisteredGenerator, Version, digest_of
from ganlib.training.spec import RunSpec


class ComparisonTask(Record):
    """Two versions of a model, to be compared on the dataset version of the candidate's run."""

    spec: RunSpec
    """The candidate's run."""
    model: Name
    candidate: Version
    champion: Version
    champion_run: str
    """The run that the champion came from: numbers begin again at 1 after a model was deleted."""

    @classmethod
    def of(
        cls, spec: RunSpec, candidate: RegisteredGenerator, champion: RegisteredGenerator
    ) -> ComparisonTask:
        """The task for two versions of one model."""
        return cls(
            spec=spec,
            model=candidate.model,
            candidate=candidate.version,
            champion=champion.version,
            champion_run=champion.tags.get("ganlib.run", ""),
        )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of everything that the result depends on."""
        config = self.spec.config
        # The configuration's own digest covers seed, extractor and numbers of pictures, but not the gate.
        fields = self.model_dump(mode="json", exclude={"spec"})
        fields |= self.spec.model_dump(mode="json", include={"run", "dataset_name", "dataset_digest"})
        fields |= {"config": config.digest, **config.gate.model_dump(include={"resamples", "confidence"})}
        return digest_of(fields)[:12]

    @property
    def job(self) -> str:
        """Name of the job: equal tasks share one."""
        return f"{self.spec.run}-compare-{self.digest}"

    @property
    def result_key(self) -> str:
        """Object key of the :class:`~ganlib.records.Comparison`."""
        return f"runs/{self.spec.run}/comparisons/{self.digest}.json"


def task_key(run: str, digest: str) -> str:
    """Object key under which the job of a comparison looks for its task."""
    return f"runs/{run}/comparisons/{digest}-task.json"


def write_task(store: ObjectStore, task: ComparisonTask) -> None:
    """Put a task where its job looks for it."""
    store.put(task_key(task.spec.run, task.digest), task.to_json().encode())


def read_task(store: ObjectStore, run: str, digest: str) -> ComparisonTask:
    """The task of a comparison job. Raises ``ObjectMissing`` when nobody wrote it, ``DataError``."""
    key = task_key(run, digest)
    return ComparisonTask.from_json(store.get(key), source=key)


def find_comparison(store: ObjectStore, task: ComparisonTask) -> Comparison | None:
    """The result that an earlier job left, if one did."""
    try:
        return Comparison.from_json(store.get(task.result_key), source=task.result_key)
    except ObjectMissing:
        return None


def write_comparison(store: ObjectStore, task: ComparisonTask, comparison: Comparison) -> None:
    """Put a task's result where :func:`find_comparison` looks for it."""
    store.put(task.result_key, comparison.to_json().encode())
