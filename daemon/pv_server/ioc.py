"""The IOC itself. softioc cannot be stopped, and swaps pyepics' library: a process of its own."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from softioc import alarm, asyncio_dispatcher, builder, imports, softioc

from daemon.pv_server.lines import MOST_BYTES, LineReader, Message, encode
from daemon.pv_server.records import RECORDS, TEXT_BYTES, Record
from daemon.state import State

SILENT_S = 5.0
"""After so long without a status what is known is old."""
ANSWER_S = 5.0
"""So long a command waits for its answer; WaitSeries as long as it takes."""
_FAREWELL_S = 0.2
_ACCESS = """
ASG(DEFAULT) {
  RULE(1, READ)
}
ASG(COMMAND) {
  RULE(1, READ)
  RULE(0, WRITE)
}
"""


async def serve(daemon: socket.socket, prefix: str, *, commands: bool) -> int:
    """Serve the PVs until the daemon closes the socket; returns the exit code."""
    reader, writer = await asyncio.open_unix_connection(sock=daemon, limit=MOST_BYTES)
    problem = _port_problem(os.environ)
    if problem:
        writer.write(encode({"failed": problem}))
        await writer.drain()
        return 1
    ioc = Ioc(prefix, writer, commands=commands)
    writer.write(encode({"ready": True}))
    await ioc.follow(reader)
    await asyncio.sleep(_FAREWELL_S)  # the last values and completions are on their way
    return 0


def _port_problem(environment: Any) -> str:
    """Two IOCs on one loopback port hide each other; elsewhere a port may be shared."""
    interface = environment.get("EPICS_CAS_INTF_ADDR_LIST", "0.0.0.0")  # noqa: S104 - no bind
    names = ("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT")
    port = int(next(filter(None, map(environment.get, names)), "5064"))
    if not ipaddress.ip_address(interface).is_loopback:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((interface, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"{interface} cannot be used ({error.strerror})"
            return f"port {port} of {interface} is taken by another IOC; set epics_server.port"
    return ""


class Ioc:
    """The records, filled by the daemon; commands go to it, and complete with its answer.

    Everything happens in the one loop, but for EPICS' own threads.

    Args:
        prefix: of the names.
        writer: to the daemon.
        commands: whether clients may write more than WaitSeries.
    """

    def __init__(self, prefix: str, writer: asyncio.StreamWriter, *, commands: bool) -> None:
        self._writer = writer
        self._records: dict[str, Any] = {}
        self._shown: dict[str, object] = {}
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._count = 0
        builder.SetDeviceName(prefix)
        for record in RECORDS:
            self._records[record.name] = self._make(record, commands=commands or record.always)
        builder.LoadDatabase()
        with tempfile.TemporaryDirectory() as folder:
            rules = Path(folder, "access.acf")
            rules.write_text(_ACCESS)
            imports.dbCore.asSetFilename(os.fsencode(rules))
            dispatcher = asyncio_dispatcher.AsyncioDispatcher(asyncio.get_running_loop())
            softioc.iocInit(dispatcher, enable_pva=False)

    def _make(self, record: Record, *, commands: bool) -> Any:
        common = {"DESC": record.description}
        match record.kind:
            case "count":
                return builder.int64In(record.name, EGU=record.unit, **common)
            case "real":
                return builder.aIn(record.name, EGU=record.unit, PREC=1, **common)
            case "text":
                return builder.longStringIn(record.name, length=TEXT_BYTES, **common)
            case "choice":
                return builder.mbbIn(record.name, *record.states, **common)
        common |= {"ASG": "COMMAND" if commands else "DEFAULT"}
        options: dict[str, Any] = {"initial_value": 0, "always_update": True, "blocking": True}
        options["on_update"] = lambda value: self._ask(record, value)
        if record.kind == "button":
            return builder.boolOut(record.name, "Done", "Go", **options, **common)
        return builder.longOut(record.name, EGU=record.unit, **options, **common)

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Take what the daemon says, until it says no more."""
        lines = LineReader()
        while True:
            try:
                received = await asyncio.wait_for(reader.read(MOST_BYTES), SILENT_S)
            except TimeoutError:
                self._mark_silent()
                continue
            except ConnectionError:
                return
            if not received:
                return
            for message in lines.feed(received):
                self._take(message)

    def _take(self, message: Message) -> None:
        if "status" in message:
            severity = alarm.MAJOR_ALARM if message["fault"] else alarm.NO_ALARM
            for name, value in message["status"].items():
                self._show(name, value, severity if name == "LastError" else alarm.NO_ALARM)
            self._tell({"seen": message["number"]})
        elif message.get("answer") in self._asked:
            self._show("CommandResult", int(message["accepted"]))
            self._show("CommandStatus", message["text"])
            future = self._asked.pop(message["answer"])
            if not future.done():
                future.set_result(None)

    def _show(self, name: str, value: Any, severity: int = alarm.NO_ALARM) -> None:
        """Set a record where that makes a difference."""
        if self._shown.get(name) == (value, severity):
            return
        self._shown[name] = value, severity
        if isinstance(value, str):
            value = value.encode()[: TEXT_BYTES - 1].decode("utf-8", "ignore")
        status = alarm.STATE_ALARM if severity else alarm.NO_ALARM
        self._records[name].set(value, severity=severity, alarm=status)

    def _mark_silent(self) -> None:
        """The daemon hangs, or is stopped: everything that is known is old."""
        if "State" not in self._shown:
            return
        for record in RECORDS:
            if not record.is_command:
                self._records[record.name].set_alarm(alarm.INVALID_ALARM, alarm.COMM_ALARM)
        self._records["State"].set(
            list(State).index(State.SILENT), alarm.INVALID_ALARM, alarm.COMM_ALARM
        )
        self._shown.clear()

    async def _ask(self, record: Record, value: int) -> None:
        """A client has put a value: its put completes when this returns."""
        if record.kind == "button" and value == 0:
            return  # how every button ends
        self._count += 1
        number, answered = self._count, asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        patience_s = None if record.always else ANSWER_S
        # The monotonic clock is that of the daemon, too.
        expires_s = None if patience_s is None else time.monotonic() + patience_s
        command = {"command": record.name, "value": value, "id": number, "expires_s": expires_s}
        self._tell(command)
        try:
            await asyncio.wait_for(answered, patience_s)
        except TimeoutError:
            self._show("CommandResult", 0)
            self._show("CommandStatus", f"{record.name} {value}: the daemon does not answer")
        finally:
            self._asked.pop(number, None)
        if record.kind == "button":
            asyncio.get_running_loop().call_later(0.05, self._records[record.name].set, 0)

    def _tell(self, message: Message) -> None:
        self._writer.write(encode(message))
