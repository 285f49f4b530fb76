"""The `cade` command as a process: help, exit codes, one line a failure."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cade.errors import CadeError, UsageError
from cade.version import __version__
from daemon import commands
from daemon.configuration import shipped
from daemon.settings import Settings

HEAVY = ("torch", "numpy", "h5py", "pydantic", "zmq", "structlog")


def cade(
    *words: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    root = str(Path(commands.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "daemon", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
        env=os.environ | {"PYTHONPATH": root} | environment,
    )


def test_help_lists_the_commands() -> None:
    done = cade("--help")
    assert done.returncode == 0
    assert not done.stderr
    for name, text in commands.available().items():
        assert f"    {name}" in done.stdout
        assert text in done.stdout


def test_every_command_module_is_listed() -> None:
    modules = {p.stem for p in Path(commands.__file__).parent.glob("[!_]*.py")}
    parts = {name for name in modules if name.partition("_")[0] in modules - {name}}
    parts.add("argument_types")  # of all of them
    assert modules - parts == set(commands.available())


@pytest.mark.parametrize("name", commands.available())
def test_help_shows_an_example(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    module = importlib.import_module(f"daemon.commands.{name}")
    assert commands.COMMANDS[name] == module.HELP
    assert commands.main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: cade {name} ")
    assert f"example:\n  {module.EXAMPLE}" in text
    assert module.EXAMPLE.startswith(f"cade {name} ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom daemon.commands import main\nmain(['--help'])\n"
        f"print('heavy:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"cade {__version__}\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "usage: cade"),
        (("nothing",), "invalid choice: 'nothing'"),
        (("config",), "required: ACTION"),
        (("config", "show", "--colour"), "unrecognized arguments: --colour"),
        (("config", "check", "--config", "gone.toml"), "cade: gone.toml: cannot be read"),
    ],
)
def test_wrong_use_exits_2(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(words) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert not output.out
    assert "Traceback" not in output.err


def test_no_command_as_a_process_exits_2() -> None:
    assert cade().returncode == 2


def test_config_show_is_the_effective_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[tracker]\nwindow = 9")
    done = cade("config", "show", "-c", "a.toml", cwd=tmp_path, CADE_TRACKER__DEVICE="cpu")
    assert done.returncode == 0
    settings = Settings.model_validate(tomllib.loads(done.stdout))
    assert (settings.tracker.window, settings.tracker.device) == (9, "cpu")


def test_config_check_names_each_problem(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("drain = 1\n[tracker]\nwindow = 4")
    done = cade("config", "check", "-c", "a.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "cade: a.toml: tracker: window must be odd, not 4",
        "cade: a.toml: drain: unknown setting; the nearest known one is 'drain_s'",
    ]


def test_config_schema_is_the_shipped_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["config", "schema"]) == 0
    assert capsys.readouterr().out == shipped("cade.schema.json")


def test_config_init_makes_a_valid_file_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.toml"
    words = ["config", "init", "--example", "dectris", str(file)]
    assert commands.main(words) == 0
    assert commands.main(["config", "check", "-c", str(file)]) == 0
    assert "number of sources: 1" in capsys.readouterr().out
    assert commands.main(words) == 1
    assert capsys.readouterr().err == f"cade: {file}: exists; remove it or name another file\n"
    assert commands.main(["config", "init", str(tmp_path / "gone" / "new.toml")]) == 1
    assert "cannot be written (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CadeError("x.h5: truncated; copy it again"), 1, "cade: x.h5: truncated; copy it again\n"),
        (UsageError("a: wrong\nb: wrong"), 2, "cade: a: wrong\ncade: b: wrong\n"),
        (KeyboardInterrupt(), 130, "cade: interrupted\n"),
        (
            ZeroDivisionError("a\nb"),
            1,
            "cade: ZeroDivisionError: a b; run with --debug to see where\n",
        ),
    ],
)
def test_failures_are_lines_and_codes(
    error: BaseException,
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("daemon.commands.config.run", fail)
    assert commands.main(["config", "schema"]) == code
    assert capsys.readouterr().err == text


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["config", "check", "-c", "gone.toml", "--debug"]) == 2
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):")
    assert text.splitlines()[-1].startswith("cade: gone.toml: ")


def test_interrupt_exits_130() -> None:
    code = (
        "import signal, sys, time\nfrom daemon import commands\n"
        "from daemon.commands import config as c\n"
        # A background job of a shell inherits SIGINT as ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def run(arguments):\n    print('ready', flush=True)\n    time.sleep(60)\n    return 0\n"
        "c.run = run\nsys.exit(commands.main(['config', 'schema']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == "cade: interrupted\n"
    assert process.returncode == 130


def test_closed_pipe_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "config", "schema"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
