"""What the documents say is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from daogou import app

ROOT = Path(__file__).parent.parent
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: TyperGroup, prefix: str = "daogou") -> Iterator[tuple[str, TyperCommand]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix} {name}")
        elif isinstance(command, TyperCommand):
            yield f"{prefix} {name}", command


def heading(section: str) -> str:
    return section.partition("\n")[0]


def every_command() -> list[tuple[str, TyperCommand]]:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return list(commands(root))


@pytest.mark.parametrize(("name", "command"), every_command(), ids=str)
def test_every_command_and_option_is_documented(name: str, command: TyperCommand) -> None:
    assert command.help, f"{name} has no help"
    assert name in COMMANDS
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("-") and option != "--help":
                assert f"`{option}" in COMMANDS, f"{name} {option}"


@pytest.mark.parametrize("section", re.split(r"(?m)^## ", COMMANDS)[1:], ids=heading)
def test_a_section_tells_of_the_options_of_its_own_commands(section: str) -> None:
    known = dict(every_command())
    names = [re.sub(r" [A-Z]+$", "", name) for name in heading(section).split(", ")]
    told = {
        option
        for line in section.splitlines() if line.startswith("|")
        for option in re.findall(r"`(--[a-z-]+)", line.split("|")[1])
    }  # fmt: skip
    parameters = [one for name in names if name in known for one in known[name].params]
    assert parameters or names == ["daogou snapshots"]
    assert parameters == [] or told <= {
        option for one in parameters for option in (*one.opts, *one.secondary_opts)
    }
    needed = {option for one in parameters for option in one.opts if option[:2] == "--"}
    assert needed - {"--help"} <= set(re.findall(r"`(--[a-z-]+)", section))


@pytest.mark.parametrize("page", [README, COMMANDS], ids=["README", "commands"])
def test_commands_the_documents_show_exist(page: str) -> None:
    known = {name for name, _ in every_command()}
    shown = set(
        re.findall(r"(?:\$ |`)(daogou (?:snapshots |evaluate |export |train )?[a-z]+)", page)
    )
    assert shown
    assert shown - {"daogou snapshots", "daogou evaluate", "daogou export", "daogou train"} <= known


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_quick_start_prints_what_the_readme_shows(demo_store: Path, tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```\n```\n(.*?)```", README, re.DOTALL)
    assert found
    code, shown = found.groups()
    (tmp_path / "catalogs").symlink_to(ROOT / "catalogs")
    shutil.copytree(demo_store, tmp_path / "my-store")
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert printed == shown
