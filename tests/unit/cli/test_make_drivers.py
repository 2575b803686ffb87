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
    numbers = ["--pictures", "3", "--unlabelled", "2", "--seed", "2"]
    answer = CliRunner().invoke(app, ["dataset", "make-drivers", str(out), *numbers])
    assert answer.exit_code == 0, answer.output
    assert f"{out}: 3 pictures and 2 unlabelled ones" in answer.output
    assert answer.output.endswith(f"\nnext: ganlib dataset add statefarm --from {out}\n")
    with zipfile.ZipFile(out) as written:
        assert len([name for name in written.namelist() if name.startswith("imgs/test/img_")]) == 2
        assert len(written.namelist()) == 6


def test_a_number_that_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "d.zip"
    answer = CliRunner().invoke(app, ["dataset", "make-drivers", str(out), "--pictures", "0"])
    assert isinstance(answer.exception, ConfigError | SystemExit)
    assert answer.exit_code != 0
    assert not out.exists()
    with pytest.raises(ConfigError, match="^0 pictures and 0 unlabelled ones cannot be drawn"):
        CliRunner().invoke(
            app, ["dataset", "make-drivers", str(out), "--pictures", "0"], catch_exceptions=False
        )
