"""Addresses of a run's files in MLflow's pages, for descriptions; without MLflow."""

from __future__ import annotations

from urllib.parse import urlencode


def artifact_link(run_id: str, path: str) -> str:
    """Address of a run's artifact, relative to MLflow's page, from which its descriptions show pictures.

    MLflow keeps ``https:`` and relative addresses of pictures in Markdown and drops ``data:``.
    """
    return f"get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}"
