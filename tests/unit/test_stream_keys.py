"""Files of CURVE keys, and the command that makes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from cade.errors import CadeError, UsageError
from daemon.commands import main
from daemon.configuration import settings_toml
from daemon.settings import Settings, StreamSettings
from daemon.sources.stream_keys import read_keys, stream_keys, write_keys


def source(**more: Any) -> StreamSettings:
    fixed = {"format": "dectris-v2", "endpoint": "tcp://127.0.0.1:1"}
    return StreamSettings.model_validate(fixed | more)


def make(folder: Path, name: str) -> tuple[Path, Path]:
    public_file, secret_file, _ = write_keys(folder, name)
    return public_file, secret_file


def test_keys_as_pyzmq_reads_and_writes_them(tmp_path: Path) -> None:
    public_file, secret_file, keys = write_keys(tmp_path / "new", "ours")
    assert zmq.auth.load_certificate(secret_file) == (keys.public, keys.secret)
    assert zmq.auth.load_certificate(public_file) == (keys.public, None)
    theirs_public, theirs_secret = map(Path, zmq.auth.create_certificates(tmp_path, "theirs"))
    theirs_secret.chmod(0o640)
    assert read_keys(theirs_public).public == read_keys(theirs_secret).public
    assert read_keys(theirs_secret).secret is not None


def test_only_the_owner_reads_a_new_secret(tmp_path: Path) -> None:
    public_file, secret_file = make(tmp_path / "new", "a")
    modes = [path.stat().st_mode & 0o777 for path in (secret_file, public_file, tmp_path / "new")]
    assert modes == [0o600, 0o644 & ~_umask(), 0o700]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    _, secret_file = make(tmp_path, "a")
    secret_file.chmod(0o660)
    read_keys(secret_file)
    secret_file.chmod(mode)
    with pytest.raises(CadeError, match=rf"open to all users \(mode {mode:04o}\); chmod o= "):
        read_keys(secret_file)


@pytest.mark.parametrize("existing", ["a.key", "a.key_secret"])
def test_nothing_is_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(CadeError, match=f"{existing}: exists and is never overwritten"):
        write_keys(tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"


@pytest.mark.parametrize("name", ["", "../a", ".a", "-a", "a\n"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a key"):
        write_keys(tmp_path, name)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CadeError, match="cannot be made"):
        write_keys(tmp_path / "file", "a")
    with pytest.raises(CadeError, match=r"a+\.key_secret: cannot be written \(File name too long"):
        write_keys(tmp_path, "a" * 300)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no CURVE key"),
        ("#public-key = " + "a" * 40, "holds no CURVE key"),
        ("public-key", "holds no CURVE key"),
        ("public-key = 'short'", "public-key is no CURVE key of 40 characters"),
        ("public-key = '" + "~" * 40, "public-key is no CURVE key"),
        ("public-key = '" + "#" * 40, "public-key is no CURVE key"),
        ("public-key = '" + "a" * 40 + "'\nsecret-key = x", "secret-key is no CURVE key"),
        ("public-key = '" + "a" * 40 + "'\nsecret-key = " + "b" * 40, "do not belong together"),
        ("\xff" * 100, "holds no CURVE key"),
    ],
)
def test_files_that_hold_no_keys(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(CadeError, match=problem) as caught:
        read_keys(path)
    assert "b" * 40 not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CadeError, match=r"no: the key cannot be read \(No such file"):
        read_keys(tmp_path / "no")
    with pytest.raises(CadeError, match=r"the key cannot be read \(Is a directory"):
        read_keys(tmp_path)


def test_what_a_source_names(tmp_path: Path) -> None:
    assert stream_keys(source()) is None
    ours, others = tmp_path / "ours", tmp_path / "others"
    ours_public, secret = make(ours, "ours")
    detector, detector_secret = make(others, "detector")
    second, _ = make(others, "second")
    client = stream_keys(source(curve_secret_key=secret, curve_server_key=detector))
    assert client is not None
    assert (client.public, client.allowed) == (read_keys(ours_public).public, frozenset())
    assert client.server == read_keys(detector).public
    for allowed in ([others], [detector, second], [detector_secret, second]):
        server = stream_keys(source(bind=True, curve_secret_key=secret, curve_allowed_keys=allowed))
        assert server is not None
        assert server.allowed == {read_keys(detector).public, read_keys(second).public}
        assert server.server is None


def test_what_a_source_names_and_cannot_be_used(tmp_path: Path) -> None:
    public, secret = make(tmp_path, "ours")
    with pytest.raises(CadeError, match=r"ours\.key: holds no secret key; set curve_secret_key to"):
        stream_keys(source(curve_secret_key=public, curve_server_key=public))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CadeError, match=r"empty: has no file \*\.key, so nobody could connect"):
        stream_keys(
            source(bind=True, curve_secret_key=secret, curve_allowed_keys=[tmp_path / "empty"])
        )


def test_a_zeromq_that_cannot_encrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, secret = make(tmp_path, "ours")
    monkeypatch.setattr(zmq, "has", lambda _: False)
    with pytest.raises(CadeError, match="built without CURVE encryption"):
        stream_keys(source(curve_secret_key=secret, curve_server_key=public))
    assert stream_keys(source()) is None


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    public, secret = make(tmp_path, "ours")
    pair = read_keys(secret)
    assert pair.secret is not None
    text = pair.secret.decode()
    settings = source(curve_secret_key=secret, curve_server_key=public)
    shown = [repr(pair), repr(stream_keys(settings)), settings_toml(Settings(sources=(settings,)))]
    assert not [one for one in shown if text in one]
    assert str(secret) in shown[2]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    assert main(["keys", "generate", str(folder), "daemon"]) == 0
    made = capsys.readouterr().out
    keys = read_keys(folder / "daemon.key_secret")
    assert keys.secret is not None
    assert keys.public.decode() in made
    assert keys.secret.decode() not in made
    for name in ("daemon.key", "daemon.key_secret"):
        assert main(["keys", "show", str(folder / name)]) == 0
        assert capsys.readouterr().out == f"{keys.public.decode()}\n"
    assert main(["keys", "generate", str(folder), "daemon"]) == 1
    assert "exists and is never overwritten" in capsys.readouterr().err
    assert main(["keys", "generate", str(folder), "a/b"]) == 2
    assert main(["keys", "show", str(folder / "none")]) == 1
    assert main(["keys"]) == 2
