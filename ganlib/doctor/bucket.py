"""The object store's bucket and credentials."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ganlib.doctor.finding import Finding, Topic
from ganlib.logins import CREDENTIAL_VARIABLE
from ganlib.settings import Settings

EXPIRY_WARNING = timedelta(hours=12)
"""A nightly run that begins within it may outlive temporary credentials."""

_RIGHTS = {
    "list": "s3:ListBucket",
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "delete": "s3:DeleteObject",
}
"""Rights that the store's policy must allow for each step of a trial."""


def look_at_bucket(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """Try the credentials and the bucket, and look when the credentials expire."""
    from ganlib.storage.bucket_trial import PREFIX, TrialFailed, credentials_expiry, try_bucket

    topic, name = Topic("bucket", "s3"), settings.s3_bucket
    login = Topic("login", "s3")
    try:
        try_bucket(settings, timeout_seconds=timeout_seconds)
    except TrialFailed as error:
        if error.step == "list" and error.setting == CREDENTIAL_VARIABLE["s3"]:
            yield login.broken(error.reason, f"correct {CREDENTIAL_VARIABLE['s3']}")
            return
        if error.step != "list" or error.code in ("NoSuchBucket", "AccessDenied", "403"):
            yield login.ok("the credentials are accepted")
        yield _failed(topic, name, error.step, error.code, error.reason)
    else:
        yield login.ok("the credentials are accepted")
        yield topic.ok(f"{name}: an object below {PREFIX} was written, read and removed")
    yield _expiry(settings, credentials_expiry(settings))


def _failed(topic: Topic, bucket: str, step: str, code: str, reason: str) -> Finding:
    if code == "NoSuchBucket":
        remedy = "the first command that needs it makes it; to use another, set GANLIB_S3_BUCKET"
        return topic.warning(f"{bucket} does not exist", remedy)
    if code in ("AccessDenied", "403"):
        remedy = f"allow these credentials {_RIGHTS[step]} there"
        return topic.broken(f"{bucket}: its {step} is refused ({code})", remedy)
    return topic.broken(f"{bucket}: {step} failed: {reason}", "look at the store's own log")


def _expiry(settings: Settings, expires: datetime | None) -> Finding:
    topic = Topic("expiry", "s3")
    if expires is None:
        what = "keys" if settings.s3_access_key_id else "credentials that boto3 found"
        return topic.skipped(f"{what} do not tell when they expire")
    seen = f"the credentials expire on {expires:%Y-%m-%d at %H:%M %Z}".rstrip()
    if expires - datetime.now(UTC) < EXPIRY_WARNING:
        return topic.warning(seen, "see that whatever gives them renews them before a run ends")
    return topic.ok(seen)
