"""Weights and cards on disk: what is written is read, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cade.errors import CadeError, UsageError
from models.architectures import build_network
from models.weights_file import (
    Card,
    find_weights,
    load_weights,
    read_card,
    save_weights,
    sha256_of,
    shipped_weights,
    update_card,
)

OPTIONS = {"channels": ((4, 6), (4, 6)), "blocks": (1, 1)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Weights with random numbers, and their card."""
    torch.manual_seed(3)
    network = build_network("cade", OPTIONS)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    path = tmp_path / "some.safetensors"
    save_weights(network, path, card())
    return path


def card(**changes: Any) -> Card:
    plain = Card(
        name="some",
        architecture="cade",
        options=OPTIONS,
        sha256="",
        command="cade train",
        recipe={"seed": 1},
        training={"steps": 2},
        numbers={},
        limits=["α ≤ 1"],
    )
    return dataclasses.replace(plain, **changes)


def change_card(path: Path, **changes: Any) -> None:
    target = path.with_suffix(".json")
    target.write_text(json.dumps(json.loads(target.read_text()) | changes))


def test_round_trip(saved: Path) -> None:
    network, found = load_weights(str(saved))
    torch.manual_seed(3)
    original = build_network("cade", OPTIONS)
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter)
    for name, value in original.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert not network.training
    assert found.sha256 == sha256_of(saved)
    assert (found.name, found.limits, found.recipe) == ("some", ["α ≤ 1"], {"seed": 1})
    assert not list(saved.parent.glob("*.part"))


def test_numbers_are_added_to_the_card(saved: Path) -> None:
    before = read_card(saved)
    update_card(saved, {"ratio": 1.5})
    assert read_card(saved) == dataclasses.replace(before, numbers={"ratio": 1.5})
    load_weights(str(saved))


def test_another_hash_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CadeError, match=r"some\.safetensors: SHA-256 is .* the card says"):
        load_weights(str(saved))


def test_a_card_is_needed(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    with pytest.raises(CadeError, match=r"some\.json cannot be read"):
        load_weights(str(saved))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"{}",
        b"\xff\xfe",
        b'{"name": "some"}',
        json.dumps(dataclasses.asdict(card()) | {"more": 1}).encode(),
        json.dumps(dataclasses.asdict(card()) | {"sha256": 5}).encode(),
        json.dumps(dataclasses.asdict(card()) | {"options": 5}).encode(),
    ],
)
def test_what_is_no_card(saved: Path, content: bytes) -> None:
    saved.with_suffix(".json").write_bytes(content)
    with pytest.raises(CadeError, match=r"some\.json is not a card"):
        load_weights(str(saved))


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "unet"},
        {"architecture": "strainnet-f", "options": {"width": 0.05}},
        {"options": {"channels": [[8, 8], [8, 8]], "blocks": [1, 1]}},
        {"options": {"channels": [[4, 6]], "blocks": [1, 1]}},
        {"options": {"channels": "many", "blocks": [1]}},
        {"options": {"depth": 3}},
    ],
)
def test_card_of_another_network(saved: Path, changes: dict[str, Any]) -> None:
    change_card(saved, **changes)
    with pytest.raises(CadeError, match=r"some\.safetensors") as caught:
        load_weights(str(saved))
    assert not isinstance(caught.value, UsageError)
    assert "\n" not in str(caught.value)


def pickled(path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, path)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def huge_header(path: Path) -> None:
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("write", [pickled, empty, huge_header])
def test_what_is_no_safetensors_file(saved: Path, write: Callable[[Path], None]) -> None:
    """Also with the right hash: nothing is ever unpickled."""
    write(saved)
    change_card(saved, sha256=sha256_of(saved))
    with pytest.raises(CadeError, match="do not fit"):
        load_weights(str(saved))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_weights(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    "name", ["nothing", "", "../weights/cade", "cade.json", "/etc/passwd", "."]
)
def test_unknown_names_list_the_shipped_ones(name: str) -> None:
    """A name is one of the shipped ones, never a way to another folder."""
    with pytest.raises(UsageError, match=", ".join(shipped_weights())):
        find_weights(name)
