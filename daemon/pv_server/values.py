"""The status as values of PVs."""

from __future__ import annotations

import time

from cade.frames import Reason
from cade.version import __version__
from daemon.pv_server.records import rejected_name
from daemon.state import State
from daemon.status import Status

Values = dict[str, float | str]


def pv_values(status: Status, heartbeat: int) -> Values:
    """The value of every status PV by its name; a choice is the number of its state."""
    totals, results = status.totals, status.results
    taken_s = results.reference_time_s
    values: Values = {
        "State": list(State).index(status.state),
        "Heartbeat": heartbeat,
        "Frames:Received": totals.received,
        "Frames:Written": totals.written,
        "Frames:Kept": totals.kept,
        "Frames:Rejected": sum(totals.rejected.values()),
        "Frames:Missing": totals.missing,
        "Frames:Doubted": sum(totals.doubted.values()),
        "Frames:Waiting": totals.waiting,
        "Frames:Held": totals.held,
        "Rate:In": round(status.rate_in_hz, 3),
        "Rate:Out": round(status.rate_out_hz, 3),
        "Lag:Frames": totals.waiting - totals.held,
        "Lag:Time": round(status.lag_s, 1),
        "Series:Open": status.series_open,
        "Series:Written": status.series_written,
        "LastFile": results.last_file,
        "LastError": status.remark.text,
        "Reference:Id": results.reference_id,
        "Reference:Age": 0.0 if taken_s is None else round(time.time() - taken_s),
        "Reference:Left": status.references_left,
        "Weights": status.tracker,
        "Version": __version__,
    }
    return values | {rejected_name(reason): totals.rejected.get(reason, 0) for reason in Reason}
