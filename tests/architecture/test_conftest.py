"""The guards of `tests/conftest.py` fail what they should, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CASES = {
    "silence": ("passed", "pass"),
    "a warning is fine": ("passed", "structlog.get_logger().warning('x')"),
    "ours": ("errors", "structlog.get_logger().error('disk full')"),
    "of a library": ("errors", "logging.getLogger('x').error('disk full')"),
    "thread that ends": ("passed", "threading.Thread(target=str).start()"),
    "thread that stays": ("errors", "threading.Thread(target=wait, daemon=True).start()"),
}


@pytest.mark.parametrize("case", CASES)
def test_guards(case: str, pytester: pytest.Pytester) -> None:
    outcome, code = CASES[case]
    counts = run(pytester, code, "")
    assert counts.get(outcome) == 1
    assert counts.get("errors", 0) == (outcome == "errors")


@pytest.mark.parametrize(("level", "outcome"), [("error", "passed"), ("warning", "errors")])
def test_expected_errors(level: str, outcome: str, pytester: pytest.Pytester) -> None:
    counts = run(pytester, f"structlog.get_logger().{level}('x')", "logged_errors")
    assert counts.get("errors", 0) == (outcome == "errors")


def run(pytester: pytest.Pytester, code: str, fixtures: str) -> dict[str, int]:
    conftest = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(conftest.replace("JOIN_S = 5.0", "JOIN_S = 0.1"))
    pytester.makepyfile(
        f"import logging, threading, structlog\n"
        f"wait = threading.Event().wait\n"
        f"def test_it({fixtures}):\n    {code}\n"
    )
    return pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes()
