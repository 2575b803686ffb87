"""``ganlib dataset make-drivers``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.errors import ConfigError


def test_it_says_where_the_pictures_are_and_what_to_do_with_them(tmp_path: Path) -> None:
    out = tmp_path / "d.zip"
    answer = CliRunner().invoke(app, ["dataset", "make-drivers", str(out), "--pictures", "3", "--seed", "2"])
    assert answer.exit_code == 0, answer.output
    assert f"{out}: 3 pictures" in answer.output
    assert "`ganlib dataset add drivers --from imgs/train`" in answer.output
    assert len(zipfile.ZipFile(out).namelist()) == 4


def test_a_number_that_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "d.zip"
    answer = CliRunner().invoke(app, ["dataset", "make-drivers", str(out), "--pictures", "0"])
    assert isinstance(answer.exception, ConfigError | SystemExit)
    assert answer.exit_code != 0
    assert not out.exists()
    with pytest.raises(ConfigError, match="0 pictures cannot be drawn"):
        CliRunner().invoke(
            app, ["dataset", "make-drivers", str(out), "--pictures", "0"], catch_exceptions=False
        )
