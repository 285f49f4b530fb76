"""karabo-bridge 2.2: trains that the package karabo_bridge makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import karabo_bridge
from numpy.typing import NDArray

TRAIN = 10_000_000_000
NOW_S = 1_793_613_599.0
PATH = "data.image.pixels"


def train(image: NDArray[Any], tid: int, source: str, role: str) -> list[bytes]:
    """A camera, a motor beside it, and what the bridge says of both."""
    data = {source: {PATH: image, "role": role}, "MOTOR/Y": {"actualPosition": 1.5}}
    about = {"timestamp": NOW_S, "timestamp.sec": "1793613599", "timestamp.frac": "0" * 18}
    metadata = {name: {"source": name, **about, "timestamp.tid": tid} for name in data}
    return [bytes(part) for part in karabo_bridge.serialize(data, metadata)]


def series(source: str, images: Sequence[NDArray[Any]], role: str) -> list[list[bytes]]:
    """Successive trains."""
    return [train(image, TRAIN + number, source, role) for number, image in enumerate(images)]
