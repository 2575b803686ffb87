"""Errors cross processes: Ray pickles what a task raises and gives it to the caller."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from ganlib import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceError("s3", "http://127.0.0.1:1", "GANLIB_S3_ENDPOINT_URL", "it is down"),
        errors.RequestRefused("mlflow", "http://127.0.0.1:1", "GANLIB_MLFLOW_URI", "no such run"),
        errors.UnknownName("model", "shirts", ["shirt", "shoe"]),
        errors.ObjectMissing("some/key"),
        errors.DigestMismatch("file", "a" * 64, "b" * 64),
        errors.DiskFull(Path("home"), 1, 10**9),
        errors.NonFiniteLoss("loss", float("inf"), 640),
        errors.JobFailed("job-1", "FAILED", "why"),
        errors.ConfigError("no"),
        errors.SeveralProblems(["one", "two"]),
        errors.AliasMoved("shirts", "champion", wanted=3, expected=None, actual=2, moved=": by anna"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was_raised(error: errors.GanlibError) -> None:
    for arrived in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert vars(arrived) == vars(error)


def test_a_password_in_an_address_is_left_out() -> None:
    error = errors.ServiceError(
        "mlflow", "http://me:secret@host:1", "GANLIB_MLFLOW_URI", "at http://me:secret@host:1"
    )
    assert "secret" not in str(error) + repr(error) + repr(vars(error))
    assert "http://host:1" in str(error)
