"""A real pvAccess server for tests, on loopback only: `python tests/pva_server.py PV`.

Its arrays are made by p4p's own wrapper, not by ours. The environment says where it serves, see
`tests.ioc.loopback`. It prints a line once it serves, and answers each command, a JSON list, with
one: `["images", FIRST, COUNT, ATTRIBUTES]` posts numbered images, `["odd", NUMBER, CHANGE]` one
with fields that are not its own, `["alarm"]` no image at all. It ends with its standard input.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from p4p import Value
from p4p.nt import NTNDArray, NTScalar
from p4p.server import Server
from p4p.server.raw import SharedPV

SHAPE = (30, 40)
KIND = NTNDArray().type


def image(number: int) -> NDArray[np.uint16]:
    """What the detector sees as its image of this number."""
    return np.random.default_rng(number).integers(100, 60_000, SHAPE, np.uint16)


def array(number: int, attributes: dict[str, object]) -> Value:
    """As areaDetector would fill it."""
    value = NTNDArray().wrap(image(number), attrib={"ColorMode": 0, **attributes})
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    for stamp in ("dataTimeStamp", "timeStamp"):
        value[f"{stamp}.secondsPastEpoch"] = seconds
        value[f"{stamp}.nanoseconds"] = nanoseconds
    value["uniqueId"] = number
    value["codec.name"] = ""  # else what was posted last remains
    return value


def odd(number: int, change: dict[str, Any]) -> Value:
    """With other fields; `value` may be null, or a member, a type and a length."""
    value = array(number, {})
    fields = value.todict() | {"attribute": [{"name": "ColorMode", "value": 0}]}
    fields |= {"value": ("ushortValue", fields["value"])} | change
    if fields["value"] is None:
        del fields["value"]
    elif isinstance(fields["value"], list):
        member, dtype, length = fields["value"]
        fields["value"] = (member, np.ones(length, dtype))
    return Value(KIND, fields)


def main() -> None:
    name = sys.argv[1]
    is_scalar = name.endswith("Scalar")
    initial = NTScalar("d").wrap(3.0) if is_scalar else Value(KIND, {})
    pv = SharedPV(initial=initial)
    with Server([{name: pv}]):
        print("serving", flush=True)
        for line in sys.stdin:
            match json.loads(line):
                case ["images", first, count, attributes]:
                    for number in range(first, first + count):
                        pv.post(array(number, attributes))
                case ["odd", number, change]:
                    pv.post(odd(number, change))
                case ["alarm"]:
                    pv.post(Value(KIND, {"alarm": {"severity": 1}}))
            print("posted", flush=True)


if __name__ == "__main__":
    main()
