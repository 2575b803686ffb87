"""Every command answers in words, whatever its services do; and every command that a message names exists."""

from __future__ import annotations

import ast
import http.server
import json
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument, TyperCommand, TyperOption
from typer.testing import CliRunner

from ganlib.cli.help import SECTIONS
from ganlib.cli.main import app, main

ROOT = Path(__file__).resolve().parents[3]

# Arguments with which a command needs its services; the others need none, or would work for minutes.
NEEDS_SERVICES: dict[str, list[str]] = {
    "retrain": ["digits-wgan"],
    "sweep": ["digits-wgan"],
    "sweep-status": [],
    "logs": ["digits-wgan-1234"],
    "runs": [],
    "open": ["ray"],
    "login": ["ray"],
    "schedule": ["status"],
    "generate": ["digits-wgan@champion", "--out", "made.png"],
    "dataset add": ["flowers", "--from", "pictures"],
    "dataset prepare": ["flowers", "--size", "28"],
    "dataset list": [],
    "dataset show": ["flowers"],
    "dataset remove": ["flowers", "--yes"],
    "dataset export": ["flowers", "out"],
    "dataset verify": ["flowers"],
    "model list": [],
    "model show": ["digits-wgan"],
    "model promote": ["digits-wgan/1", "--why", "it is better"],
    "model rollback": ["digits-wgan"],
    "model compare": ["digits-wgan/1", "digits-wgan/2", "--out", "both.png"],
    "model fetch": ["digits-wgan", "--to", "there"],
}
NEEDS_NONE: dict[str, list[str]] = {
    "status": [],
    "down": [],
    "recipes": [],
    "dataset make-drivers": ["drivers.zip", "--pictures", "1"],
    "config show": ["digits-wgan"],
    "config diff": ["digits-wgan", "fashion-mnist-wgan"],
}
TELLS_WHAT_IS_BROKEN = "doctor"
STARTS_SERVICES = {"up", "demo", "sweep-demo", "bench"}


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, TyperCommand]]:
    """Every command of the command line by its words."""
    below: dict[str, Any] | None = getattr(command, "commands", None)
    if below is None:
        yield " ".join(words), command
        return
    for name, part in below.items():
        yield from leaves(part, (*words, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_the_lists_name_every_command() -> None:
    assert set(COMMANDS) == {*NEEDS_SERVICES, *NEEDS_NONE, *STARTS_SERVICES, TELLS_WHAT_IS_BROKEN}


class Foreign(http.server.BaseHTTPRequestHandler):
    """Something that is no service of ours and answers everything in the same way."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<html>welcome</html>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def addresses(url: str) -> dict[str, str]:
    return {
        "s3_endpoint_url": url,
        "mlflow_uri": url,
        "prefect_api_url": f"{url}/api",
        "ray_address": url,
    }


@pytest.fixture(params=["absent", "down", "foreign"])
def services(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A home whose services were never started, have stopped, or are somebody else's."""
    home = tmp_path / "home"
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLIB_HOME", str(home))
    for variable in ("S3_ENDPOINT_URL", "MLFLOW_URI", "PREFECT_API_URL", "RAY_ADDRESS"):
        monkeypatch.delenv(f"GANLIB_{variable}", raising=False)
    if request.param == "absent":
        yield request.param
        return
    home.mkdir()
    keys = {"s3_access_key_id": "key", "s3_secret_access_key": "secret"}
    (home / "credentials.json").write_text(json.dumps(keys))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        if request.param == "down":
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        (home / "services.json").write_text(json.dumps(addresses(url)))
        yield request.param
        if request.param == "foreign":
            server.shutdown()


@pytest.mark.parametrize("name", [*NEEDS_SERVICES, *NEEDS_NONE])
def test_a_command_without_its_services_ends_in_one_line(
    name: str, services: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*name.split(), *(NEEDS_SERVICES | NEEDS_NONE)[name]]
    monkeypatch.setattr(sys, "argv", ["ganlib", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    if name in NEEDS_NONE:
        assert ended.value.code in (0, None)
        return
    assert ended.value.code in (1, 2), said
    [line] = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(line) > 30
    assert not Path("made.png").exists()
    assert not Path("there").exists()


def test_doctor_without_its_services_names_each(
    services: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ganlib", TELLS_WHAT_IS_BROKEN])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert ended.value.code == 1
    broken = [line.split()[1:3] for line in said.out.splitlines() if line.startswith("broken ")]
    assert broken == [[name, "reachable"] for name in ("s3", "mlflow", "prefect", "ray")]


def help_of(name: str) -> str:
    """A command's help page in a wide terminal."""
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*name.split(), "-h"])
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_ends_with_an_example_of_it(name: str) -> None:
    last = help_of(name).strip().splitlines()[-1].strip()
    ganlib, *words = shlex.split(last.removeprefix("Example:  "))
    assert ganlib == "ganlib"
    assert words[: len(name.split())] == name.split()
    # Refuses an unknown option, a missing one, and a value of another type.
    COMMANDS[name].make_context(name, words[len(name.split()) :])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_tells_its_default_and_what_it_takes(name: str) -> None:
    text = help_of(name)
    assert not re.search(r"<(bool|str|int|float|path|list\[str\])\b", text), text
    for parameter in COMMANDS[name].params:
        assert isinstance(parameter, TyperOption | TyperArgument)
        assert parameter.help, parameter.name
        flag = isinstance(parameter, TyperOption) and parameter.is_flag
        told = parameter.default is not None or isinstance(parameter.show_default, str)
        assert flag or parameter.required or told, f"{name}: {parameter.name} has no default to show"


def test_the_commands_of_every_day_come_first_and_every_command_has_a_heading() -> None:
    text = CliRunner().invoke(app, ["-h"]).output
    lines = [words[1] for line in text.splitlines() if len(words := line.split()) > 2 and words[0] == "│"]
    first = {name.split()[0] for name in COMMANDS}
    assert [word for word in lines if word in first] == [
        name for names in SECTIONS.values() for name in names
    ]
    assert "─ Commands ─" not in text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ganlib config show dig", "digits-wgan"),
        ("ganlib retrain digits-wgan --set cadence.n", "cadence.n_critic="),
    ],
)
def test_a_shell_completes_recipes_and_fields(words: str, offered: str) -> None:
    environ = {"_GANLIB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    answer = CliRunner(env=environ).invoke(app, [], prog_name="ganlib")
    assert answer.output.split() == [offered]


def texts(path: Path) -> Iterator[str]:
    """Every string in a module; what is put into one when it runs is a placeholder."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "PLACEHOLDER" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def hints() -> list[tuple[str, str]]:
    """Every `ganlib …` between backquotes in the sources, with its file."""
    found = []
    for path in sorted([*(ROOT / "ganlib").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]):
        for text in texts(path):
            for hint in re.findall(r"(?<!`)`(ganlib [^`]+)`(?!`)", text):
                found.append((path.relative_to(ROOT).as_posix(), " ".join(hint.split())))
    return sorted(set(found))


@pytest.mark.parametrize(("path", "hint"), hints(), ids=lambda value: str(value))
def test_a_command_that_a_message_names_can_be_run(path: str, hint: str) -> None:
    words = [word for word in shlex.split(hint)[1:] if not word.startswith(("…", "-h"))]
    name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
    if name is None:
        groups = {command.split()[0] for command in COMMANDS if " " in command}
        assert words[0] in groups, f"{path}: there is no `{hint}`"
        return
    if "-h" in hint.split():
        return
    # Refuses an option that does not exist, and one or an argument that is missing.
    COMMANDS[name].make_context(name, words[len(name.split()) :])
