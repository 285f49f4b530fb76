"""The bare names that this distribution installs are its own (decision 0002)."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["cade", "models", "simulator", "daemon", "config"])
def test_name_is_ours(name: str) -> None:
    owners = metadata.packages_distributions().get(name, [])
    assert set(owners) <= {"cade-daemon"}, (
        f"{owners} also install '{name}'; use a fresh environment"
    )
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).parent == ROOT / name


def test_distribution_installs_nothing_else() -> None:
    owners = metadata.packages_distributions()
    if "cade-daemon" not in {owner for names in owners.values() for owner in names}:
        pytest.skip("the distribution is not installed in this environment")
    ours = {name for name, names in owners.items() if "cade-daemon" in names}
    ours = {name for name in ours if not name.startswith("__editable__")}
    assert ours <= {"cade", "models", "simulator", "daemon", "config"}
