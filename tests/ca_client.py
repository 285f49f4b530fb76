"""A client of Channel Access in a process of its own, as a scan or a screen would be.

`python tests/ca_client.py` reads one JSON object a line from standard input, and answers so: `get`
and `put`, which is answered when the server has completed it.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.daemon_process import PATIENCE_S, ROOT, TICK_S, environment

Line = dict[str, Any]


class CaClient:
    """A context manager.

    Args:
        prefix: of all PVs.
        more: environment variables for Channel Access.
    """

    def __init__(self, prefix: str, **more: str) -> None:
        self._prefix = prefix
        self._count = 0
        self._answers: dict[int, Line] = {}
        self._came = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/ca_client.py")],
            env=environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # EPICS libraries talk about beacons and lost circuits
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._reader.join(PATIENCE_S)
        self._process.communicate(timeout=PATIENCE_S)

    def begin(self, action: str, name: str, **values: object) -> int:
        """Ask, and go on; `answered` and `answer` take the number that is returned."""
        self._count += 1
        request = {"do": action, "pv": f"{self._prefix}:{name}", "id": self._count, **values}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._count

    def answered(self, number: int) -> bool:
        with self._came:
            return number in self._answers

    def answer(self, number: int) -> Line:
        with self._came:
            assert self._came.wait_for(lambda: number in self._answers, PATIENCE_S)
            return self._answers.pop(number)

    def read(self, name: str) -> Line:
        """Value and text of a PV, and its alarm; `connected` is false where nobody serves it."""
        return self.answer(self.begin("get", name))

    def get(self, name: str) -> Any:
        """A number, or the text of a text or choice."""
        line = self.read(name)
        assert line["connected"], name
        return line.get("text", line["value"])

    def put(self, name: str, value: object) -> str:
        """Empty when it is completed, else what was wrong."""
        return str(self.answer(self.begin("put", name, value=value))["problem"])

    def wait_until(self, name: str, condition: Callable[[Any], bool]) -> Any:
        end_s = time.monotonic() + PATIENCE_S
        while not condition(value := self.get(name)):
            assert time.monotonic() < end_s, (name, value)
            time.sleep(TICK_S)
        return value

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            with self._came:
                self._answers[line["id"]] = line
                self._came.notify_all()


def main() -> None:
    import epics

    status = 1

    def completed(args: Any) -> None:
        """As pyepics' own, which does not tell how the put has ended."""
        nonlocal status
        status = args.status
        args.usr()

    epics.ca._CB_PUTWAIT = epics.dbr.make_callback(completed, epics.dbr.event_handler_args)
    answers: queue.SimpleQueue[Line] = queue.SimpleQueue()
    requests: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
    pvs: dict[str, Any] = {}

    def write() -> None:
        while True:
            print(json.dumps(answers.get()), flush=True)

    def get(pv: Any, number: int) -> None:
        line: Line = {"id": number, "connected": pv.wait_for_connection(timeout=10)}
        if line["connected"]:
            known = pv.get_with_metadata(form="ctrl", use_monitor=False, timeout=10) or {}
            value, states = known.get("value"), known.get("enum_strs", ())
            if pv.type.endswith("enum"):
                line["text"] = states[value] if value is not None else ""
            elif pv.type.endswith("char"):
                line["text"] = bytes([] if value is None else value).partition(b"\0")[0].decode()
            line["value"] = value if isinstance(value, int | float) else None
            line |= {"severity": known.get("severity"), "unit": known.get("units")}
        answers.put(line)

    def put(pv: Any, number: int, value: Any) -> None:
        def done(**_: Any) -> None:
            problem = "" if status & 1 else f"ended with status {status >> 3}"
            answers.put({"id": number, "problem": problem})

        pv.wait_for_connection(timeout=10)
        try:
            if pv.put(value, callback=done) is None:
                answers.put({"id": number, "problem": "not connected"})
        except epics.ca.CASeverityException as error:
            answers.put({"id": number, "problem": str(error)})

    def read() -> None:
        for text in sys.stdin:
            requests.put(json.loads(text))
        requests.put(None)

    threading.Thread(target=write, daemon=True).start()
    threading.Thread(target=read, daemon=True).start()
    while (first := requests.get()) is not None:
        lines = [first, *(requests.get() for _ in range(requests.qsize()))]
        for name in {line["pv"] for line in lines if line} - pvs.keys():  # all are searched at once
            pvs[name] = epics.PV(name, form="ctrl", auto_monitor=False)
        for line in filter(None, lines):
            pv = pvs[line["pv"]]
            get(pv, line["id"]) if line["do"] == "get" else put(pv, line["id"], line["value"])
        if None in lines:
            return


if __name__ == "__main__":
    main()
