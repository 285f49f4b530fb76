"""Weights on disk: a safetensors file, and beside it a card (JSON) that says what they are.

Nothing is unpickled: safetensors holds numbers only. The card carries the file's SHA-256, so a
damaged or exchanged file is refused before a single frame is processed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from cade.errors import CadeError, UsageError
from models.architectures import Network, build_network
from models.recipe import tuples


@dataclass(frozen=True, slots=True)
class Card:
    """What weights are: architecture and options, hash, recipe and measured numbers."""

    name: str
    architecture: str
    options: dict[str, Any]
    sha256: str
    command: str
    recipe: dict[str, Any]
    training: dict[str, Any]
    numbers: dict[str, Any]
    limits: list[str]


def shipped_weights() -> tuple[str, ...]:
    """Names of the weights that came with the package."""
    folder = resources.files("models.weights")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".json")))


def is_plain_name(name: str) -> bool:
    """Whether weights may have this name: a word, never a way to another folder."""
    plain = re.fullmatch(r"\w[\w.-]*", name) is not None
    return plain and not name.endswith((".safetensors", ".json", ".part"))


def own_weights(folder: Path) -> tuple[str, ...]:
    """Names of the weights in a beamline's own folder; none where there is no such folder."""
    try:
        found = sorted(folder.glob("*.safetensors"))
    except OSError:
        return ()
    return tuple(p.stem for p in found if is_plain_name(p.stem) and _is_complete(p))


def find_weights(name: str, folder: Path | None = None) -> Path:
    """The safetensors file of a shipped name, of a name in the user's `folder`, or of a path.

    Raises:
        UsageError: none of them; the known names are listed.
    """
    if name.endswith(".safetensors"):
        path = Path(name)
    elif name in shipped_weights():
        path = Path(str(resources.files("models.weights"))) / f"{name}.safetensors"
    else:
        own = () if folder is None else own_weights(folder)
        if folder is None or name not in own:
            raise UsageError(
                f"unknown weights {name!r}: neither a .safetensors file nor one of the shipped "
                f"{', '.join(shipped_weights())}{_own_text(own, folder)}"
            )
        path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UsageError(f"weights {path}: no such file")
    return path


def _is_complete(weights: Path) -> bool:
    """Promotion makes the card first: without one, something else was put there."""
    return weights.is_file() and weights.with_suffix(".json").is_file()


def _own_text(own: tuple[str, ...], folder: Path | None) -> str:
    if folder is None:
        return ""
    return f", nor one of {folder}: {', '.join(own)}" if own else f", nor in {folder}"


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_card(weights: Path) -> Card:
    """The card beside a weights file.

    Raises:
        CadeError: there is none, or it is not a card.
    """
    path = weights.with_suffix(".json")
    try:
        card = Card(**json.loads(path.read_text()))
        if not (isinstance(card.sha256, str) and isinstance(card.options, dict)):
            raise TypeError("sha256 must be text, options a table")
        return card
    except OSError as error:
        raise CadeError(
            f"weights {weights}: their card {path.name} cannot be read: {error}"
        ) from None
    except (ValueError, TypeError) as error:
        raise CadeError(f"weights {weights}: {path.name} is not a card: {error}") from None


def load_weights(name: str, folder: Path | None = None) -> tuple[Network, Card]:
    """The network of weights that `find_weights` finds, in evaluation mode, and its card.

    Raises:
        UsageError: unknown name or missing file.
        CadeError: the file does not match its card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = find_weights(name, folder)
    card = read_card(path)
    found = sha256_of(path)
    if found != card.sha256:
        raise CadeError(
            f"weights {path}: SHA-256 is {found[:16]}…, the card says {card.sha256[:16]}…; "
            f"the file is damaged or was exchanged, install it again"
        )
    try:
        network = build_network(card.architecture, tuples(card.options))
    except (UsageError, ValueError) as error:
        raise CadeError(f"weights {path}: their card asks for what is not there: {error}") from None
    try:
        network.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except (RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise CadeError(f"weights {path} do not fit a {card.architecture}: {first}") from None
    return network.eval(), card


def save_weights(network: torch.nn.Module, path: Path, card: Card) -> Card:
    """Write weights and card; returns the card with the file's hash in it.

    Raises:
        CadeError: they cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, partial)
        partial.chmod(0o644)  # the service that reads them may run as another user
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CadeError(f"weights {path} cannot be written: {error}; free some space") from None
    card = dataclasses.replace(card, sha256=sha256_of(path))
    write_card(path, card)
    return card


def update_card(weights: Path, numbers: dict[str, Any]) -> None:
    """Put measured numbers into the card of weights."""
    write_card(weights, dataclasses.replace(read_card(weights), numbers=numbers))


def write_card(weights: Path, card: Card) -> None:
    """Write the card beside a weights file."""
    text = json.dumps(dataclasses.asdict(card), indent=2, ensure_ascii=False) + "\n"
    weights.with_suffix(".json").write_text(text)
