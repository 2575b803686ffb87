"""`ganlib up`, `ganlib down` and `ganlib status`."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

from ganlib.settings import Settings, require_room
from ganlib.stack.environment import Context
from ganlib.stack.home import Layout, exclusive, prepare_home, remove_short_path
from ganlib.stack.processes import end, is_alive, members
from ganlib.stack.service import Service
from ganlib.stack.services import SERVICES, embedded
from ganlib.stack.start import END_GRACE_SECONDS, Report, Start, complaint
from ganlib.stack.state import LEAST_FREE_BYTES, ServiceStatus, StackRecord, StackStatus


def up(settings: Settings, *, report: Report) -> StackStatus:
    """Start what is missing of the embedded services, and wait until each answers.

    Args:
        settings: Whose ``own`` services are left alone.
        report: Takes one line for a person at a time.

    Raises:
        ConfigError: The home cannot be used.
        DiskFull: Its disk has less than :data:`LEAST_FREE_BYTES` free.
        ServiceNotStarted: A service did not come up; what this call had started was ended again.
    """
    layout = prepare_home(settings.home)
    require_room(settings.home, LEAST_FREE_BYTES)
    with exclusive(layout, report):
        Start(settings, layout, report).run()
    return status(settings)


def down(settings: Settings, *, report: Report) -> None:
    """End every process that :func:`up` started, with all its children, within a few seconds.

    All get SIGTERM at once, and SIGKILL if they do not end. Chosen ports, data and logs stay. Flow runs of
    the worker that were under way are taken up again by the next :func:`up`.
    """
    if not settings.home.is_dir():
        report(f"nothing runs: there is no {settings.home}")
        return
    layout = Layout(settings.home)
    with exclusive(layout, report):
        found = members(settings.home)
        if found:
            report("ending " + ", ".join(s.name for s in SERVICES if s.name in found.values()))
        end(settings.home, grace_seconds=END_GRACE_SECONDS)
        record = StackRecord.load(layout)
        remove_short_path(record.ray_folder, layout.folder("ray"))
        layout.services.unlink(missing_ok=True)
        record.model_copy(update={"services": {}, "ray_folder": ""}).save(layout)
        report(f"ended {len(found)} processes" if found else "nothing was running")


def status(settings: Settings) -> StackStatus:
    """Return each service's present state. Nothing is written.

    Raises:
        ConfigError: ``stack.json`` is damaged.
    """
    record = StackRecord.load(Layout(settings.home))
    context = Context.recorded(settings, record)
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        seen = tuple(pool.map(lambda service: _one_status(service, context, record), SERVICES))
    free = shutil.disk_usage(settings.home).free if settings.home.is_dir() else None
    return StackStatus(home=str(settings.home), services=seen, free_bytes=free)


def _one_status(service: Service, context: Context, record: StackRecord) -> ServiceStatus:
    log = str(context.layout.log(service.name))
    if service not in embedded(context.settings):
        return ServiceStatus(name=service.name, state="own", url=context.url(service.name))
    started = record.services.get(service.name)
    if started is None or not is_alive(started, service.name, context.settings.home):
        return ServiceStatus(name=service.name, state="down", log=log)
    state = "up" if complaint(service, context, started) is None else "starting or not answering"
    return ServiceStatus.model_validate(
        {
            **started.model_dump(include={"url", "pid", "since"}),
            "name": service.name,
            "state": state,
            "log": log,
        }
    )
