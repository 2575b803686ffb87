"""Starting the services side by side, each as soon as those it needs answer."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from ganlib.errors import ServiceNotStarted
from ganlib.logins import secrets_of
from ganlib.settings import ADDRESS_FIELD, Settings, page_of
from ganlib.stack import port_numbers, schedule
from ganlib.stack.environment import Context, digest_of_settings
from ganlib.stack.home import (
    Layout,
    make_credentials,
    remove_short_path,
    short_path,
    tail,
    write_atomically,
)
from ganlib.stack.probes import NotAnswering
from ganlib.stack.processes import created, end, is_alive, members, spawn
from ganlib.stack.service import Service
from ganlib.stack.services import embedded
from ganlib.stack.state import StackRecord, StartedService

START_TIMEOUT_SECONDS = 180.0
"""Longest time until a service answers: ten times what it takes on two idle cores."""

END_GRACE_SECONDS = 4.0
"""Time that a service gets to end after SIGTERM."""

_POLL_SECONDS = 0.1

Report = Callable[[str], None]
"""Takes one line for a person."""


def complaint(service: Service, context: Context, started: StartedService) -> str | None:
    """Return why a service does not count as up; ``None`` when it answers."""
    try:
        service.probe(context, started)
    except NotAnswering as error:
        return str(error)
    return None


class Start:
    """One call of ``up``; the caller holds the lock of the home."""

    def __init__(self, settings: Settings, layout: Layout, report: Report) -> None:
        self._settings, self._layout, self._report = settings, layout, report
        self._record = StackRecord.load(layout)
        self._alive = {
            name: started
            for name, started in self._record.services.items()
            if is_alive(started, name, settings.home)
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, float] = {}
        self._launches: Counter[str] = Counter()

    def run(self) -> None:
        """Start what is missing and wait for all.

        Raises:
            ServiceNotStarted: One did not come up; those started here were ended again.
        """
        try:
            self._end_leftovers()
            self._prepare()
            self._end_misfits()
            self._wait_for_all()
        except BaseException:
            with _uninterrupted():
                self._take_back()
            raise

    def _end_leftovers(self) -> None:
        """End the children of crashed services: they may hold ports and files.

        A flow whose worker crashed must not answer SIGTERM, as it would stop its job on the cluster. The job
        goes on, and the new worker takes the flow run up again (:func:`schedule.take_up_orphans`).
        """
        left = set(members(self._settings.home).values()) - set(self._alive)
        if "worker" in left:
            end(self._settings.home, ["worker"], grace_seconds=0)
        if left := left - {"worker"}:
            end(self._settings.home, left, grace_seconds=END_GRACE_SECONDS)

    def _prepare(self) -> None:
        make_credentials(self._layout)
        kept = {
            name: self._record.ports[name]
            for service in self._alive
            for name in port_numbers.OF_SERVICE[service]
            if name in self._record.ports
        }
        names = [
            name for service in embedded(self._settings) for name in port_numbers.OF_SERVICE[service.name]
        ]
        chosen = port_numbers.choose(names, mode=self._settings.ports, before=self._record.ports, kept=kept)
        folder = self._record.ray_folder
        if "ray" not in self._alive and "ray" not in self._settings.own:
            folder = str(short_path(self._layout.folder("ray"), folder))
        self._save(ports={**self._record.ports, **chosen}, ray_folder=folder, services=self._alive)
        self._context = Context.recorded(self._settings, self._record)
        started_here = {service.name for service in embedded(self._settings)}
        addresses = {
            field: self._context.url(name) for name, field in ADDRESS_FIELD.items() if name in started_here
        }
        write_atomically(self._layout.services, addresses)

    def _end_misfits(self) -> None:
        """End services that depend on an address that has changed, or on a server that is to start anew."""
        worker = self._alive.get("worker")
        if worker and "prefect" not in self._alive and worker.settings != digest_of_settings(self._settings):
            # It may lack the login that the new server asks for. Its flows are taken up again.
            self._report("worker starts again: it was started with other settings than these")
            del self._alive["worker"]
            end(self._settings.home, ["worker"], grace_seconds=0)
        for service in embedded(self._settings):
            started = self._alive.get(service.name)
            if started and started.bound_to != self._bound_to(service):
                self._report(f"{service.name} starts again: what it depends on has moved")
                del self._alive[service.name]
                end(self._settings.home, [service.name], grace_seconds=END_GRACE_SECONDS)
            elif started and started.settings != digest_of_settings(self._settings):
                self._report(
                    f"{service.name} runs with other settings than these; "
                    "`ganlib down` and `ganlib up` apply them"
                )
        self._save(services=self._alive)

    def _wait_for_all(self) -> None:
        waiting = list(embedded(self._settings))
        ready: set[str] = set(self._settings.own)
        registered = not any(service.name == "worker" for service in waiting)
        while waiting or not registered:
            for service in [one for one in waiting if ready.issuperset(one.requires)]:
                if self._advance(service):
                    waiting.remove(service)
                    ready.add(service.name)
            if not registered and "prefect" in ready:
                registered = self._register()
            if waiting or not registered:
                time.sleep(_POLL_SECONDS)

    def _advance(self, service: Service) -> bool:
        """Start a service if necessary, and return whether it answers."""
        begun = self._begun.setdefault(service.name, time.monotonic())
        try:
            if service.name not in self._alive:
                if service.name == "worker":
                    # Before it starts: a new worker's own runs must not be among them.
                    self._take_up_orphans()
                self._launch(service)
            if service.name in self._children:
                service.before_probe(self._context)
            service.probe(self._context, self._alive[service.name])
        except NotAnswering as error:
            self._give_up_if_hopeless(service, time.monotonic() - begun, str(error))
            return False
        if service.name in self._children:
            service.after_start(self._context)
            seconds = time.monotonic() - begun
            page = page_of(service.name, self._context.url(service.name))
            self._report(f"{service.name} answers at {page} after {seconds:.1f} s")
        return True

    def _launch(self, service: Service) -> None:
        service.before_start(self._context)
        self._launches[service.name] += 1
        since = datetime.now(UTC).isoformat()
        child = spawn(
            service.command(self._context),
            environment=service.environment(self._context),
            folder=service.folder(self._context),
            log=self._layout.log(service.name),
        )
        self._children[service.name] = child
        self._alive[service.name] = StartedService(
            pid=child.pid,
            created=created(child.pid),
            url=self._context.url(service.name),
            since=since,
            bound_to=self._bound_to(service),
            settings=digest_of_settings(self._settings),
        )
        self._save(services=self._alive)

    def _give_up_if_hopeless(self, service: Service, seconds: float, reason: str) -> None:
        child = self._children.get(service.name)
        if child is not None and child.poll() is not None:
            said = f"it exited with {child.returncode} after {seconds:.0f} s"
            if self._launches[service.name] >= service.attempts:
                raise self._failure(service.name, said)
            self._report(f"{service.name}: {said}; starting it once more")
            end(self._settings.home, [service.name], grace_seconds=END_GRACE_SECONDS)
            del self._alive[service.name]
        if seconds > START_TIMEOUT_SECONDS:
            remedy = "" if child else "; it was running already: end it with `ganlib down`"
            raise self._failure(service.name, f"no answer within {seconds:.0f} s: {reason}{remedy}")

    def _register(self) -> bool:
        """Register the deployments if necessary, and return whether that is done."""
        child = self._children.get(schedule.NAME)
        if child is None:
            wanted = schedule.digest()
            if self._record.registered == wanted and schedule.are_registered(self._context):
                return True
            self._begun[schedule.NAME] = time.monotonic()
            self._children[schedule.NAME] = spawn(
                schedule.command("register"),
                environment=schedule.environment(self._context),
                folder=self._layout.folder("prefect"),
                log=self._layout.log(schedule.NAME),
            )
            return False
        seconds = time.monotonic() - self._begun[schedule.NAME]
        if child.poll() is None and seconds < START_TIMEOUT_SECONDS:
            return False
        if child.returncode != 0:
            outcome = "did not end" if child.returncode is None else f"exited with {child.returncode}"
            reason = f"registering the deployments {outcome} after {seconds:.0f} s"
            raise self._failure("worker", reason, log=schedule.NAME)
        self._save(registered=schedule.digest())
        return True

    def _take_up_orphans(self) -> None:
        for name in schedule.take_up_orphans(partial(self._context.ask, "prefect")):
            self._report(f"flow run {name} had lost its worker and is taken up again")

    def _failure(self, service: str, reason: str, log: str = "") -> ServiceNotStarted:
        path = self._layout.log(log or service)
        hidden = [*secrets_of(self._context.settings), self._context.keys.secret.get_secret_value()]
        return ServiceNotStarted(service, reason, path, tail(path, [text for text in hidden if text]))

    def _take_back(self) -> None:
        if self._children:
            end(self._settings.home, self._children, grace_seconds=END_GRACE_SECONDS)
        left = {name: started for name, started in self._alive.items() if name not in self._children}
        if "ray" not in left:
            remove_short_path(self._record.ray_folder, self._layout.folder("ray"))
            self._save(ray_folder="")
        self._save(services=left)
        if not left:
            self._layout.services.unlink(missing_ok=True)

    def _bound_to(self, service: Service) -> dict[str, str]:
        return {name: self._context.url(name) for name in service.requires}

    def _save(self, **changes: object) -> None:
        self._record = self._record.model_copy(update=changes)
        self._record.save(self._layout)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C in the body, so that a second one does not interrupt the clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
