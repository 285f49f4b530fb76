"""What `import cade` offers, and that wire formats and settings do without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cade
from tests.daemon_process import environment

LIGHT = "cade, cade.files, cade.wire, daemon.settings, daemon.commands.emulate"


def test_every_name_is_there() -> None:
    for name in cade.__all__:
        assert getattr(cade, name) is not None
    assert set(cade.__all__) <= set(dir(cade))


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'cade' has no attribute 'nonsense'"):
        _ = cade.nonsense


def test_torch_is_imported_only_where_it_is_needed() -> None:
    script = f"import sys, {LIGHT}; assert 'torch' not in sys.modules; cade.Geometry(1.0, 1.0, 1.0)"
    script += (
        "; assert 'torch' not in sys.modules; cade.integrate_phase; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)
