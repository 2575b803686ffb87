from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from ganlib.errors import ConfigError
from ganlib.settings import load_settings
from ganlib.stack import home as layout
from ganlib.stack.home import Layout, make_credentials, prepare_home, read_credentials, short_path, tail


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path):
    return prepare_home(tmp_path / "home")


def test_the_home_is_the_owners_alone(tmp_path):
    open_to_all = tmp_path / "home"
    open_to_all.mkdir(mode=0o755)
    prepare_home(open_to_all)
    assert mode(open_to_all) == 0o700


def test_a_folder_that_all_share_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(ConfigError, match=r"GANLIB_HOME is .*shared.*mode 1777"):
        prepare_home(shared)
    assert mode(shared) == 0o1777


def test_a_home_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="GANLIB_HOME="):
        prepare_home(tmp_path / "file" / "home")


def test_credentials_are_random_private_and_stay(home, tmp_path):
    make_credentials(home)
    keys = read_credentials(home)
    assert mode(home.credentials) == 0o600
    make_credentials(home)
    assert read_credentials(home) == keys
    other = prepare_home(tmp_path / "other")
    make_credentials(other)
    assert read_credentials(other).secret != keys.secret
    assert keys.secret.get_secret_value() not in repr(keys)


def test_settings_read_the_credentials(home):
    make_credentials(home)
    settings = load_settings({"GANLIB_HOME": str(home.home)})
    keys = read_credentials(home)
    assert (settings.s3_access_key_id, settings.s3_secret_access_key) == (keys.key_id, keys.secret)


def test_credentials_that_others_could_read_are_closed_again(home):
    make_credentials(home)
    home.credentials.chmod(0o644)
    make_credentials(home)
    assert mode(home.credentials) == 0o600


def test_damaged_credentials_name_the_file(home):
    home.credentials.write_text(json.dumps({"s3_access_key_id": "a"}))
    with pytest.raises(ConfigError, match=r"credentials\.json lacks"):
        read_credentials(home)


def test_a_log_tail_has_no_secret_and_only_the_last_lines(tmp_path):
    log = tmp_path / "s3.log"
    log.write_text("".join(f"line {n} with hunter2\n" for n in range(1000)))
    lines = tail(log, ["hunter2"], lines=3)
    assert lines == ["line 997 with ***", "line 998 with ***", "line 999 with ***"]
    assert tail(tmp_path / "none.log") == []


def test_a_large_log_is_put_aside(tmp_path):
    log = tmp_path / "ray.log"
    with log.open("wb") as file:
        file.truncate(21 * 2**20)
    layout.rotate(log)
    assert not log.exists()
    assert (tmp_path / "ray.log.1").stat().st_size == 21 * 2**20


def test_a_short_folder_is_used_as_it_is():
    assert short_path(Path("/srv/g/ray"), "") == Path("/srv/g/ray")


def test_a_long_folder_is_reached_by_a_private_link(tmp_path):
    target = tmp_path / ("x" * 60) / "ray"
    target.mkdir(parents=True)
    link = short_path(target, "")
    assert len(str(link)) <= layout.RAY_FOLDER_LIMIT
    assert link.resolve() == target.resolve()
    assert mode(link.parent) == 0o700
    assert short_path(target, str(link)) == link
    layout.remove_short_path(str(link), target)
    assert not link.parent.exists()
    assert target.is_dir()


def test_a_link_that_leads_elsewhere_is_neither_used_nor_removed(tmp_path):
    target = tmp_path / ("x" * 60) / "ray"
    target.mkdir(parents=True)
    link = short_path(target, "")
    link.unlink()
    link.symlink_to(tmp_path)
    other = short_path(target, str(link))
    assert other != link
    layout.remove_short_path(str(link), target)
    assert link.is_symlink()
    link.unlink()
    link.parent.rmdir()
    layout.remove_short_path(str(other), target)


def test_old_ray_sessions_go_and_the_newest_logs_are_linked(home):
    for hour in range(5):
        (home.folder("ray") / f"session_2026-01-01_0{hour}-00-00_1_1" / "logs").mkdir(parents=True)
    layout.prune_ray_sessions(home)
    layout.link_ray_logs(home)
    assert [path.name[19:21] for path in layout.ray_sessions(home)] == ["04", "03", "02"]
    assert (home.home / "logs" / "ray").resolve().parent.name.startswith("session_2026-01-01_04")


def test_a_second_holder_of_the_lock_waits_and_says_so(home):
    import threading

    said: list[str] = []
    waiting, entered = threading.Event(), threading.Event()

    def report(line: str) -> None:
        said.append(line)
        waiting.set()

    def second() -> None:
        with layout.exclusive(home, report):
            entered.set()

    with layout.exclusive(Layout(home.home), said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()
    assert len(said) == 1
    assert "waiting" in said[0]
