"""The table of the PVs and what is made of it; commands; what daemon and IOC say to each other."""

from __future__ import annotations

import itertools
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cade.frames import Reason
from daemon import commands as command_line
from daemon.accounting import Account
from daemon.configuration import shipped
from daemon.intake_control import IntakeControl
from daemon.last_error import Remark
from daemon.pv_server.child import child_environment
from daemon.pv_server.commands import Answer, Commands
from daemon.pv_server.document import markdown
from daemon.pv_server.lines import MOST_BYTES, LineReader, encode
from daemon.pv_server.records import COMMANDS, RECORDS, STATUS, rejected_name
from daemon.pv_server.values import pv_values
from daemon.series_ledger import SeriesLedger
from daemon.settings import EpicsServerSettings
from daemon.state import State
from daemon.status import Results, Status

ROOT = Path(__file__).parents[2]
LONGEST_NAME = 60  # of an EPICS record
LONGEST_DESC, LONGEST_STATE, MOST_STATES = 40, 25, 16


def test_records_are_what_epics_takes() -> None:
    names = [record.name for record in RECORDS]
    assert len(set(names)) == len(names)
    prefix = EpicsServerSettings(prefix="P" * 30).prefix
    for record in RECORDS:
        assert re.fullmatch(r"[A-Za-z:]+", record.name)
        assert len(f"{prefix}:{record.name}") <= LONGEST_NAME
        assert 0 < len(record.description) <= LONGEST_DESC, record
        assert len(record.states) <= MOST_STATES
        assert all(len(state) <= LONGEST_STATE for state, _ in record.states)
        assert bool(record.states) == (record.kind == "choice")
    assert {record.name for record in COMMANDS} == {r.name for r in RECORDS if r.is_command}


def test_every_reason_has_a_pv() -> None:
    assert {rejected_name(reason) for reason in Reason} <= {record.name for record in STATUS}


def status(**values: object) -> Status:
    account = Account()
    account.receive()
    account.reject(Reason.WRONG_SHAPE)
    account.receive()
    account.hold()
    plain: dict[str, object] = {
        "state": State.LAGGING,
        "totals": account.totals(),
        "rate_in_hz": 1.23456,
        "rate_out_hz": 0.0,
        "lag_s": 2.04,
        "series_open": 1,
        "series_written": 2,
        "results": Results(),
        "remark": Remark("frame rejected"),
        "tracker": "zncc",
        "references_left": 3,
    }
    return Status(**plain | values)  # type: ignore[arg-type]


def test_every_status_pv_has_a_value_and_every_value_a_pv() -> None:
    values = pv_values(status(), 7)
    assert set(values) == {record.name for record in STATUS}
    assert values["State"] == list(State).index(State.LAGGING)
    counts = {"Heartbeat": 7, "Frames:Received": 2, "Frames:Rejected": 1, "Frames:Waiting": 1}
    counts |= {"Frames:Held": 1, "Lag:Frames": 0, "Rejected:WrongShape": 1, "Rejected:Empty": 0}
    assert counts.items() <= values.items()
    assert (values["Rate:In"], values["Lag:Time"]) == (1.235, 2.0)
    assert (values["Reference:Age"], values["Reference:Left"]) == (0, 3)
    for record in STATUS:
        assert isinstance(values[record.name], str) == (record.kind == "text")


def test_age_of_the_reference_is_since_it_was_taken() -> None:
    assert float(pv_values(status(results=Results("", "r", 0.0)), 1)["Reference:Age"]) > 1.7e9


def test_documents_list_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert (ROOT / "docs/pvs.md").read_text(encoding="utf-8") == markdown(), (
        "run: cade config pvs > docs/pvs.md"
    )
    assert command_line.main(["config", "pvs", "--prefix", "X"]) == 0
    assert capsys.readouterr().out == markdown("X")
    for record in RECORDS:
        assert markdown("X").count(f"| `X:{record.name}` |") == 1


def test_screen_names_only_pvs_that_are_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["config", "screen"]) == 0
    screen = ET.fromstring(capsys.readouterr().out)
    assert screen.tag == "display"
    assert screen.findtext("macros/P")
    pvs = {element.text or "" for element in screen.iter("pv_name")}
    names = {f"$(P):{record.name}" for record in RECORDS}
    assert pvs <= names
    # Reasons may be added without a place on the screen, and waiting is for scans.
    missing = {name for name in names - pvs if ":Rejected:" not in name}
    assert missing == {"$(P):WaitSeries"}
    boxes = []
    for widget in screen.iter("widget"):
        x, y, width, height = (
            int(widget.findtext(tag) or -1) for tag in ("x", "y", "width", "height")
        )
        assert min(x, y) >= 0
        assert x + width <= int(screen.findtext("width") or 0)
        assert y + height <= int(screen.findtext("height") or 0)
        boxes.append((x, y, x + width, y + height))
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    buttons = [w for w in screen.iter("widget") if w.get("type") == "action_button"]
    assert {b.findtext("actions/action/value") for b in buttons} == {"1"}
    assert shipped("cade.bob")


@pytest.mark.parametrize("prefix", ["", "BL01:CADE", "a-b_c+d", "P" * 30])
def test_prefixes(prefix: str) -> None:
    assert EpicsServerSettings(prefix=prefix).prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["BL01:", ":A", "A::B", "a b", "a.b", "$(P)", "é", "a\n", "P" * 31]
)
def test_bad_prefixes(prefix: str) -> None:
    with pytest.raises(ValidationError, match="prefix"):
        EpicsServerSettings(prefix=prefix)


@pytest.mark.parametrize("interface", ["127.0.0.1", "0.0.0.0", "192.168.3.4"])
def test_interfaces(interface: str) -> None:
    assert EpicsServerSettings(interface=interface).interface == interface


@pytest.mark.parametrize("interface", ["", "localhost", "::1", "1.2.3", "127.0.0.1 10.0.0.1"])
def test_bad_interfaces(interface: str) -> None:
    with pytest.raises(ValidationError, match="no IPv4 address"):
        EpicsServerSettings(interface=interface)


@pytest.mark.parametrize(
    ("port", "good"), [(5000, False), (5001, True), (65535, True), (65536, False)]
)
def test_ports(port: int, *, good: bool) -> None:
    if good:
        assert EpicsServerSettings(port=port).port == port
    else:
        with pytest.raises(ValidationError, match="port"):
            EpicsServerSettings(port=port)


def test_ioc_serves_this_computer_alone_unless_told() -> None:
    before = {"PYTHONPATH": "/x", "NOTIFY_SOCKET": "/s", "EPICS_CAS_INTF_ADDR_LIST": "10.0.0.1"}
    alone = child_environment(EpicsServerSettings(), before)
    assert alone == {
        "PYTHONPATH": f"{ROOT}:/x",
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
    }
    one = child_environment(EpicsServerSettings(interface="10.0.0.2", port=6000), {})
    assert one.keys() == {"PYTHONPATH", "EPICS_CAS_INTF_ADDR_LIST", "EPICS_CAS_SERVER_PORT"}
    assert (one["EPICS_CAS_INTF_ADDR_LIST"], one["EPICS_CAS_SERVER_PORT"]) == ("10.0.0.2", "6000")
    every = child_environment(EpicsServerSettings(interface="0.0.0.0"), before)
    assert every == {"PYTHONPATH": f"{ROOT}:/x"}


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans())), st.data())
def test_lines_arrive_whole(messages: list[dict[str, object]], data: st.DataObject) -> None:
    sent, reader, got = b"".join(map(encode, messages)), LineReader(), []
    while sent:
        count = data.draw(st.integers(1, len(sent)))
        got += reader.feed(sent[:count])
        sent = sent[count:]
    assert got == messages


@pytest.mark.parametrize("nonsense", [b"\n", b"1\n", b"{\n", b"\xff\n", b"x" * (MOST_BYTES + 1)])
def test_nonsense_is_no_line(nonsense: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever of its kinds
        LineReader().feed(nonsense)


class Owner:
    """A source that counts how often it was asked to end its series."""

    asked = 0

    def end_series(self) -> None:
        self.asked += 1


def asked(commands: Commands, name: object, value: object) -> Answer:
    answer = commands.ask(name, value)()
    assert answer is not None
    return answer


def parts(**options: object) -> tuple[Commands, IntakeControl, SeriesLedger]:
    control, series = IntakeControl(), SeriesLedger()
    return Commands(control, series, **{"allowed": True} | options), control, series  # type: ignore[arg-type]


def test_pause_and_resume() -> None:
    commands, control, _ = parts()
    assert asked(commands, "Resume", 1) == Answer(accepted=True, text="was not paused")
    assert asked(commands, "Pause", 1).accepted
    assert control.paused
    assert asked(commands, "Resume", 1).accepted
    assert not control.paused


def test_no_pause_where_pvs_drive() -> None:
    commands, control, _ = parts(drives="[epics]")
    answer = asked(commands, "Pause", 1)
    assert not answer.accepted
    assert "[epics] drives" in answer.text
    assert not control.paused


@pytest.mark.parametrize(
    ("count", "accepted"), [(-1, False), (0, True), (100_000, True), (100_001, False)]
)
def test_take_reference(count: int, *, accepted: bool) -> None:
    commands, control, _ = parts()
    control.references.ask(5)
    assert asked(commands, "TakeReference", count).accepted == accepted
    assert control.references.left == (count if accepted else 5)


def test_end_series() -> None:
    commands, control, series = parts()
    owner = Owner()
    control.own([owner])
    assert asked(commands, "EndSeries", 1) == Answer(accepted=True, text="no series is open")
    assert owner.asked == 0
    series.announce()
    assert asked(commands, "EndSeries", 1) == Answer(accepted=True, text="open series end")
    control.pause()
    assert asked(commands, "EndSeries", 1).text.endswith("after Resume")
    assert owner.asked == 2


def test_wait_series() -> None:
    commands, _, series = parts(allowed=False)
    assert asked(commands, "WaitSeries", 1) == Answer(accepted=True, text="no series is open")
    series.announce()
    pending = commands.ask("WaitSeries", 1)
    assert pending() is None
    series.begin("a")
    series.announce()  # another one, which the client did not ask for
    series.begin("b")
    assert pending() is None
    series.close("a")
    assert pending() == Answer(accepted=True, text="written")
    assert commands.ask("WaitSeries", 1)() is None


@pytest.mark.parametrize("name", ["Pause", "Resume", "EndSeries", "WaitSeries"])
@pytest.mark.parametrize("value", [0, 2, -1, 65535, 1.0, "1", None, True, [1]])
def test_buttons_take_nothing_but_one(name: str, value: object) -> None:
    commands, control, series = parts()
    series.announce()
    owner = Owner()
    control.own([owner])
    assert not asked(commands, name, value).accepted
    assert not control.paused
    assert owner.asked == 0


@pytest.mark.parametrize(
    "name", ["", "State", "ask", "__class__", None, 1, ["Pause"], "Pause\n" * 99]
)
def test_what_is_no_command(name: object) -> None:
    answer = asked(parts()[0], name, 1)
    assert not answer.accepted
    assert len(answer.text) < 100


STOPPING: Callable[[], bool] = lambda: True  # noqa: E731


@pytest.mark.parametrize("options", [{"allowed": False}, {"stopping": STOPPING}])
def test_commands_that_are_off_do_nothing(options: dict[str, object]) -> None:
    commands, control, series = parts(**options)
    series.announce()
    owner = Owner()
    control.own([owner])
    for name in ("Pause", "TakeReference", "EndSeries", "Resume"):
        assert not asked(commands, name, 1).accepted
    assert (control.paused, control.references.left, owner.asked) == (False, 0, 0)


def test_pause_holds_up_until_resume_or_the_end() -> None:
    for end in ("resume", "stop"):
        control, stop = IntakeControl(), threading.Event()
        control.wait(stop)  # not paused: at once
        control.pause()
        thread = threading.Thread(target=control.wait, args=(stop,))
        thread.start()
        assert thread.is_alive()
        control.resume() if end == "resume" else stop.set()
        thread.join(10)
        assert not thread.is_alive()
