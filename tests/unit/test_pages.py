from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_the_readme_links_to_every_page() -> None:
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= set(re.findall(r"\]\((docs/[^)]+)\)", README))


def test_the_map_names_every_room() -> None:
    rooms = {
        f"ganlib/{folder.name}" for folder in (ROOT / "ganlib").iterdir() if (folder / "__init__.py").exists()
    }
    assert rooms | {"flows/", "ganlib/recipes"} == set(
        re.findall(r"^\| `([^`]+/[^`]*)` \|", README, re.MULTILINE)
    )


def test_files_that_the_pages_name_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:ganlib|flows|tests)/[^`]*)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
