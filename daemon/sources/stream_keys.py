"""CURVE keys: files in the format of zmq.auth, and what a stream needs of them."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from cade.errors import CadeError, UsageError
from daemon.settings import StreamSettings

_KEY_CHARACTERS = 40
_KEY_BYTES = 32
_MOST_FILE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Public and secret key, each 40 characters; `secret` is None where a file has none."""

    public: bytes
    secret: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """What encrypts a stream: our keys, and the server's or those of allowed clients."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes | None
    allowed: frozenset[bytes]


def stream_keys(settings: StreamSettings) -> StreamKeys | None:
    """The keys that a source names, None where it is not encrypted.

    Raises:
        CadeError: a file cannot be read, holds no key, or is open to others.
    """
    if settings.curve_secret_key is None:
        return None
    check_curve()
    own = read_keys(settings.curve_secret_key)
    if own.secret is None:
        raise CadeError(
            f"{settings.curve_secret_key}: holds no secret key; set curve_secret_key to the file "
            "*.key_secret that 'cade keys generate' made"
        )
    server = settings.curve_server_key
    allowed = [key for path in settings.curve_allowed_keys for key in _public_keys(path)]
    return StreamKeys(
        own.public,
        own.secret,
        None if server is None else read_keys(server).public,
        frozenset(allowed),
    )


def check_curve() -> None:
    """Refuse to go on where ZeroMQ cannot encrypt.

    Raises:
        CadeError: it cannot.
    """
    if not zmq.has("curve"):
        raise CadeError(
            "stream: this ZeroMQ was built without CURVE encryption; install the wheel of pyzmq "
            "from PyPI, or leave the curve_… settings out"
        )


def read_keys(path: Path) -> KeyPair:
    """The keys in a file; a file that holds a secret one must be closed to other users.

    Raises:
        CadeError: it cannot be read, holds no key, or others may read or change its secret key.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read(_MOST_FILE_BYTES).splitlines()
    except OSError as error:
        raise CadeError(f"{path}: the key cannot be read ({error.strerror})") from None
    public, secret = (_value(lines, name, path) for name in (b"public-key", b"secret-key"))
    if public is None:
        raise CadeError(f"{path}: holds no CURVE key; 'cade keys generate' makes one")
    if secret is None:
        return KeyPair(public, None)
    if mode & stat.S_IRWXO:
        raise CadeError(
            f"{path}: holds a secret key and is open to all users "
            f"(mode {stat.S_IMODE(mode):04o}); chmod o= {path}, and make a new key if this machine "
            "has other users"
        )
    if zmq.curve_public(secret) != public:
        raise CadeError(f"{path}: public and secret key do not belong together; make new ones")
    return KeyPair(public, secret)


def write_keys(folder: Path, name: str) -> tuple[Path, Path, KeyPair]:
    """A new key pair as `NAME.key`, for the other side, and `NAME.key_secret`, for the owner only.

    Raises:
        UsageError: the name is none of a file.
        CadeError: one of the files exists, or cannot be written.
    """
    if not name or name.startswith((".", "-")) or not name.isprintable() or "/" in name:
        raise UsageError(f"{name!r} is no name for a key; use letters and digits")
    check_curve()
    public, secret = zmq.curve_keypair()
    lines = f'metadata\ncurve\n    public-key = "{public.decode()}"\n'
    secret_line = f'    secret-key = "{secret.decode()}"\n'
    public_file, secret_file = folder / f"{name}.key", folder / f"{name}.key_secret"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CadeError(f"{folder}: cannot be made ({error.strerror}); name another") from None
    _write(secret_file, f"# CURVE key pair. Keep it secret.\n{lines}{secret_line}", 0o600)
    try:
        _write(public_file, f"# CURVE public key, for the other side.\n{lines}", 0o644)
    except CadeError:
        secret_file.unlink()
        raise
    return public_file, secret_file, KeyPair(public, secret)


def _write(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        raise CadeError(f"{path}: exists and is never overwritten; choose another name") from None
    except OSError as error:
        raise CadeError(f"{path}: cannot be written ({error.strerror})") from None


def _public_keys(path: Path) -> list[bytes]:
    """Of a file, or of all files `*.key` in a folder."""
    if not path.is_dir():
        return [read_keys(path).public]
    files = sorted(path.glob("*.key"))
    if not files:
        raise CadeError(
            f"{path}: has no file *.key, so nobody could connect; put public keys there"
        )
    return [read_keys(file).public for file in files]


def _value(lines: list[bytes], name: bytes, path: Path) -> bytes | None:
    """The key of this name; 40 characters that stand for 32 bytes."""
    for line in lines:
        key, equals, text = line.strip().partition(b"=")
        if equals and key.strip() == name:
            value = text.strip(b" \t\"'")
            if not _is_key(value):
                raise CadeError(f"{path}: {name.decode()} is no CURVE key of 40 characters")
            return value
    return None


def _is_key(value: bytes) -> bool:
    try:
        return len(value) == _KEY_CHARACTERS and len(z85.decode(value)) == _KEY_BYTES
    except (KeyError, ValueError, struct.error):
        return False
