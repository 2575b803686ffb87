"""Small HTTP servers that answer as S3, MLflow, Prefect and Ray do, as far as `ganlib doctor` asks."""

from __future__ import annotations

import base64
import http.server
import json
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ganlib.cluster.node_labels import node_labels
from ganlib.settings import Settings, load_settings
from ganlib.stack.schedule import SILENCE_SECONDS, WATCH

KEY, TOKEN, PAIR = "the-key", "the-ray-token", "ganlib:the-prefect-word"
MLFLOW_LOGIN = ("somebody", "the-mlflow-word")
DEMANDED = {
    "s3": f"Credential={KEY}/",
    "mlflow": "Basic " + base64.b64encode(":".join(MLFLOW_LOGIN).encode()).decode(),
    "prefect": "Basic " + base64.b64encode(PAIR.encode()).decode(),
    "ray": f"Bearer {TOKEN}",
}


def node(name: str = "one", **changes: Any) -> dict[str, Any]:
    """A node of Ray as the dashboard tells of it."""
    labels = dict(pair.split("=") for pair in node_labels().split(","))
    raylet = {
        "state": "ALIVE",
        "nodeManagerHostname": name,
        "resourcesTotal": {"CPU": 4.0},
        "labels": labels,
    }
    disk = {"/": {"total": 10**12, "free": 10**11}}
    return {"disk": disk, "raylet": {**raylet, **changes.pop("raylet", {})}, **changes}


def deployment(name: str, schedules: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A deployment as Prefect tells of it."""
    parameters = {} if name == "pictures" else {"recipe": "fashion-mnist-wgan", "name": None}
    return {"name": name, "paused": False, "schedules": schedules, "parameters": parameters, **changes}


def nightly(**changes: Any) -> dict[str, Any]:
    """The nightly schedule as Prefect tells of it."""
    when = {"cron": "0 3 * * *", "timezone": "UTC"}
    return {"slug": "nightly", "active": True, "schedule": when, **changes}


def flow_run(minutes: float, **changes: Any) -> dict[str, Any]:
    """A flow run that has been in its state for some minutes."""
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    state = {"id": "first", "type": "PENDING", "name": "Pending", "timestamp": since}
    return {"id": "run-1", "name": "sly-fox", "expected_start_time": since, "state": state, **changes}


class World:
    """Content and behaviour of the four services; a test changes it before the doctor looks."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        """Services that ask for no credential."""
        self.refusing: set[str] = set()
        """Services that take no credential."""
        self.skew_seconds: dict[str, float] = {}
        self.objects: dict[str, bytes] = {}
        self.bucket: str = "usual"
        """``usual``, ``read-only``, ``missing`` or ``forgetful``: gives other bytes than it got."""
        self.versions = {name: version(name) for name in ("mlflow", "prefect", "ray")}
        self.python = platform.python_version()
        self.nodes = [node()]
        self.runs: dict[str, list[dict[str, Any]]] = {"PENDING": [], "Late": []}
        self.now: dict[str, Any] | None = None
        """The pending run when it is read once more; ``None``: as it was listed."""
        self.watches = [{"name": WATCH, "enabled": True, "trigger": {"within": SILENCE_SECONDS}}]
        self.pools = [{"name": "ganlib", "is_paused": False}]
        self.workers = [{"name": "ganlib", "status": "ONLINE", "last_heartbeat_time": "2026-11-28T08:00:00Z"}]
        self.deployments = [
            deployment("nightly", [nightly()]),
            deployment("search", []),
            deployment("pictures", []),
        ]
        self.posted: list[tuple[str, Any]] = []

    def mlflow(self, path: str, body: Any) -> Any:
        return self.versions["mlflow"].encode() if path == "/version" else {"experiments": []}

    def ray(self, path: str, body: Any) -> Any:
        if path == "/api/version":
            return {"ray_version": self.versions["ray"]}
        if path == "/nodes":
            return {"data": {"summary": self.nodes}}
        return {"data": {"rayVersion": self.versions["ray"], "pythonVersion": self.python}}

    def prefect(self, path: str, body: Any) -> Any:
        path = path.removeprefix("/api")
        answers: dict[str, Any] = {
            "/admin/version": self.versions["prefect"],
            "/automations/filter": self.watches,
            "/work_pools/filter": self.pools,
            "/work_pools/ganlib/workers/filter": self.workers,
            "/deployments/filter": self.deployments,
            "/flow_runs/run-1": self.now or next(iter(self.runs["PENDING"]), None),
        }
        if path == "/flow_runs/filter":
            [[wanted]] = [kind["any_"] for kind in body["flow_runs"]["state"].values()]
            return self.runs[wanted]
        if path.endswith("/set_state"):
            self.posted.append((path, body))
            self.runs["PENDING"] = []
            return {"status": "ACCEPT"}
        return answers[path]

    def s3(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of an answer to a request with the right key."""
        url = urlsplit(path)
        key = url.path.removeprefix("/ganlib").lstrip("/")
        if self.bucket == "missing":
            return 404, b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>"
        if method == "GET" and not key:
            found = [
                name for name in self.objects if name.startswith(parse_qs(url.query).get("prefix", [""])[0])
            ]
            listed = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in found)
            return 200, f"<ListBucketResult><Name>ganlib</Name>{listed}</ListBucketResult>".encode()
        if method != "GET" and self.bucket == "read-only":
            return 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        if method == "PUT":
            self.objects[key] = body
            return 200, b""
        if method == "DELETE":
            self.objects.pop(key, None)
            return 204, b""
        return 200, self.objects[key] + (b"!" if self.bucket == "forgetful" else b"")


def _handler(world: World, service: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = self.headers.get("Authorization", "")
            let_in = DEMANDED[service] in given and service not in world.refusing
            let_in = let_in or (service in world.open and not given)
            if not let_in:
                refusal = b"<Error><Code>InvalidAccessKeyId</Code></Error>"
                self._send(403 if service == "s3" else 401, refusal)
            elif service == "s3":
                self._send(*world.s3(self.command, self.path, body))
            else:
                asked = json.loads(body) if body else None
                said = getattr(world, service)(urlsplit(self.path).path, asked)
                self._send(200, said if isinstance(said, bytes) else json.dumps(said).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + world.skew_seconds.get(service, 0), usegmt=True)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(world: World) -> Iterator[dict[str, str]]:
    """Addresses of the four services by service."""
    with ExitStack() as stack:
        addresses = {}
        for service in DEMANDED:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(world, service))
            server.daemon_threads = True
            stack.enter_context(server)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            addresses[service] = f"http://127.0.0.1:{server.server_port}"
        yield addresses


def settings_of(home: Path, addresses: dict[str, str], **more: str) -> Settings:
    """Settings with these addresses and the right credentials."""
    return load_settings(
        {
            "GANLIB_HOME": str(home),
            "GANLIB_S3_ENDPOINT_URL": addresses["s3"],
            "GANLIB_MLFLOW_URI": addresses["mlflow"],
            "GANLIB_PREFECT_API_URL": f"{addresses['prefect']}/api",
            "GANLIB_RAY_ADDRESS": addresses["ray"],
            "GANLIB_S3_ACCESS_KEY_ID": KEY,
            "GANLIB_S3_SECRET_ACCESS_KEY": "the-s3-secret",
            "GANLIB_MLFLOW_USERNAME": MLFLOW_LOGIN[0],
            "GANLIB_MLFLOW_PASSWORD": MLFLOW_LOGIN[1],
            "GANLIB_PREFECT_AUTH": PAIR,
            "GANLIB_RAY_TOKEN": TOKEN,
            **more,
        }
    )
