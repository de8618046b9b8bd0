"""What the distributions declare is what is tested, and all of them are installed by one file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, ROOT / "benchmarks", *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]


# Optional extras that do not install beside the CPU build of torch (they need torchvision), or are under the AGPL:
# nothing here has tested their floors.
NOT_TESTED = {"lpips", "torch-fidelity", "nudenet"}


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, version in pairs}


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda p: p.name)
def test_floors_are_the_versions_that_are_tested(folder):
    about = project(folder)
    extras = [r for group in about.get("optional-dependencies", {}).values() for r in group]
    for requirement in about["dependencies"] + extras:
        if requirement.startswith(f"{about['name']}["):
            continue  # another extra of its own
        name, floor = re.fullmatch(r"([\w-]+)>=([\w.]+)", requirement).groups()
        if name in NOT_TESTED and requirement in extras:
            continue
        own = {project(p)["name"]: project(p)["version"] for p in PROJECTS}
        assert floor == (own.get(name) or pins()[name]), requirement
    assert about["requires-python"] == ">=3.11"


def test_one_file_installs_every_distribution():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {(ROOT / line.removeprefix("-e ")).resolve() for line in lines if line.startswith("-e ")}
    assert listed == {p.resolve() for p in PROJECTS}
    assert "-c constraints.txt" in lines


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda p: p.name)
def test_every_distribution_has_a_readme_that_says_what_it_is(folder):
    about = project(folder)
    assert len((folder / about["readme"]).read_text().split()) > 30
    assert about["license"] == "Apache-2.0"
