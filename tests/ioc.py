"""A real EPICS IOC for tests, on loopback only: `python tests/ioc.py PREFIX [odd]`.

Once it serves it prints one line, a JSON object: environment variables for Channel Access clients,
and for a second run of this script that shall take the first one's place. It serves until it is
killed or its standard input ends. Records, all of which clients may write:

- `PREFIX:Acquire` (bo): Idle, Acquiring
- `PREFIX:Role` (stringout): a role's name
- `PREFIX:RoleState` (mbbo): sample, reference, flat, dark
- `PREFIX:RoleNumber` (longout)
- `PREFIX:Energy` (ao, keV), `PREFIX:Distance` (ao, whose units are Latin-1), `PREFIX:Stage` (ao,
  mm), `PREFIX:Current` (ao, mA), `PREFIX:Shutter` (bo: Open, Closed): nothing set, so in alarm
- `PREFIX:Sample` (stringout), `PREFIX:Proposal` (long string), `PREFIX:Wave` (waveform)
- `PREFIX:HDF1:` and the names of an areaDetector file plugin's PVs

With `odd`, Energy is a text and Acquire a waveform.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import ExitStack


def free_port(stack: ExitStack) -> int:
    """A port that is free for TCP and for UDP on loopback; both stay taken until `stack` ends."""
    while True:
        tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        tcp.bind(("127.0.0.1", 0))
        port = int(tcp.getsockname()[1])
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port


def loopback() -> dict[str, str]:
    """Settings of Channel Access and pvAccess that keep every packet on this machine."""
    with ExitStack() as stack:
        server, repeater, pva_server, pva_broadcast = (str(free_port(stack)) for _ in range(4))
    local = "127.0.0.1"
    return {
        "EPICS_CA_ADDR_LIST": local,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": server,
        "EPICS_CA_REPEATER_PORT": repeater,
        "EPICS_CAS_INTF_ADDR_LIST": local,
        "EPICS_CAS_BEACON_ADDR_LIST": local,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_PORT": repeater,
        "EPICS_PVA_ADDR_LIST": local,
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_SERVER_PORT": pva_server,
        "EPICS_PVA_BROADCAST_PORT": pva_broadcast,
        "EPICS_PVAS_INTF_ADDR_LIST": local,
        "EPICS_PVAS_BEACON_ADDR_LIST": local,
        "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
    }


def serve(prefix: str, *, odd: bool = False) -> None:
    """Serve the records; the environment must be set before."""
    from softioc import asyncio_dispatcher, builder, softioc

    builder.SetDeviceName(prefix)
    if odd:
        builder.WaveformOut("Acquire", [1.0, 2.0])
        builder.stringOut("Energy", initial_value="thirty")
    else:
        builder.boolOut("Acquire", "Idle", "Acquiring")
        builder.aOut("Energy", EGU="keV")
    builder.aOut("Distance", EGU=b"\xb5m".decode("latin-1"))
    builder.aOut("Stage", EGU="mm")
    builder.aOut("Current", EGU="mA")
    builder.boolOut("Shutter", "Open", "Closed")
    builder.stringOut("Sample")
    builder.longStringOut("Proposal", length=80)
    builder.WaveformOut("Wave", [1.0, 2.0, 3.0])
    builder.boolOut("HDF1:Capture_RBV", "Done", "Capturing")
    builder.boolOut("HDF1:WriteFile_RBV", "Done", "Writing")
    builder.longStringOut("HDF1:FullFileName_RBV", length=256)
    builder.longOut("HDF1:NumCaptured_RBV")
    builder.mbbOut("HDF1:WriteStatus", "Write OK", "Write error")
    builder.longStringOut("HDF1:WriteMessage", length=80)
    builder.stringOut("Role")
    builder.mbbOut("RoleState", "sample", "reference", "flat", "dark")
    builder.longOut("RoleNumber")
    builder.LoadDatabase()
    softioc.iocInit(asyncio_dispatcher.AsyncioDispatcher(), enable_pva=False)


def main() -> None:
    environment = {name: os.environ.get(name, value) for name, value in loopback().items()}
    os.environ.update(environment)
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # EPICS talks on standard output while it starts
    serve(sys.argv[1], odd="odd" in sys.argv)
    print(json.dumps(environment), file=answer, flush=True)
    sys.stdin.read()
    os._exit(0)  # an IOC's threads do not end by themselves


if __name__ == "__main__":
    main()
