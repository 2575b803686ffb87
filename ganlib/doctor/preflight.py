"""Checks before a run changes anything: services, dataset, room on the cluster, weights."""

from __future__ import annotations

import urllib.error
import urllib.request

from ganlib.cluster.launch import require_capacity
from ganlib.config.run import RunConfig
from ganlib.data.layout import describe_raw
from ganlib.errors import ServiceError
from ganlib.logins import CREDENTIAL_VARIABLE, NoRedirects, login_headers
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.settings import ADDRESS_VARIABLE, Settings
from ganlib.storage import open_prefix, open_store

TIMEOUT_SECONDS = 5.0


def preflight(settings: Settings, config: RunConfig) -> None:
    """Ask every service that a run needs for an answer, and check what the configuration names.

    Raises:
        ServiceError: A service does not answer or refuses us; within ten seconds.
        ConfigError: No address is known for one, or the cluster is too small for the run.
        UnknownName: The dataset was never added.
        DataError: It was added in part only.
        DigestMismatch: The extractor's weights are not the ones that they must be.
    """
    store = open_store(settings)
    describe_raw(store, config.dataset.name)
    MlflowRegistry(settings).models()
    require_capacity(settings, config.compute.workers)
    if config.evaluation.extractor == "inception":
        # Imports torch, which nothing else here needs.
        from ganlib.quality.extractors import provide_weights

        provide_weights(store, config.evaluation, settings.cache, lambda uri: open_prefix(settings, uri))


def require_prefect(settings: Settings) -> None:
    """Check that the Prefect API answers and lets us in.

    Raises:
        ServiceError: It does not, within five seconds.
        ConfigError: No address is known.
    """
    address = settings.require("prefect")
    # Not its health, which is told to everybody.
    request = urllib.request.Request(f"{address}/admin/version", headers=login_headers(settings, "prefect"))  # noqa: S310
    try:
        with urllib.request.build_opener(NoRedirects()).open(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise ServiceError(
                "prefect", address, ADDRESS_VARIABLE["prefect"], f"HTTP {error.code}"
            ) from error
        reason = f"it refuses the login (HTTP {error.code})"
        raise ServiceError("prefect", address, CREDENTIAL_VARIABLE["prefect"], reason) from error
    except (urllib.error.URLError, TimeoutError, ValueError, OSError) as error:
        raise ServiceError("prefect", address, ADDRESS_VARIABLE["prefect"], f"no answer ({error})") from error
