"""The account of every frame."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from cade.frames import Reason
from daemon.accounting import Account

fates = st.one_of(
    st.just("keep"), st.integers(1, 4).map(lambda count: ("write", count)), st.sampled_from(Reason)
)


@given(st.lists(fates), st.integers(0, 20))
def test_what_came_is_what_went_and_what_waits(
    done: list[str | tuple[str, int]], waiting: int
) -> None:
    account = Account()
    kept = written = rejected = 0
    for fate in done:
        if isinstance(fate, tuple):
            for _ in range(fate[1]):
                account.receive()
            account.write(fate[1])
            written += fate[1]
        elif isinstance(fate, Reason):
            account.receive()
            account.reject(fate)
            rejected += 1
        else:
            account.receive()
            account.keep()
            kept += 1
    for _ in range(waiting):
        account.receive()
    totals = account.totals()
    assert (totals.written, totals.kept, sum(totals.rejected.values())) == (written, kept, rejected)
    assert totals.done == written + kept + rejected
    assert totals.received == totals.done + waiting
    assert totals.waiting == waiting
    assert str(totals) == (
        f"{written} written, {kept} kept, {rejected} rejected, {waiting} waiting"
    )


def test_reasons_are_counted_apart_and_a_view_does_not_change() -> None:
    account = Account()
    for reason in (Reason.EMPTY, Reason.EMPTY, Reason.SATURATED):
        account.receive()
        account.reject(reason)
    before = account.totals()
    account.receive()
    account.reject(Reason.EMPTY)
    assert before.rejected == {Reason.EMPTY: 2, Reason.SATURATED: 1}
    assert account.totals().rejected[Reason.EMPTY] == 3


def test_threads_do_not_lose_a_count() -> None:
    account = Account()

    def work() -> None:
        for _ in range(2000):
            account.receive()
            account.keep()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (account.totals().received, account.totals().kept) == (8000, 8000)


def test_what_is_held_still_waits_and_what_is_doubted_is_counted_beside() -> None:
    account = Account()
    for _ in range(3):
        account.receive()
    account.hold()
    account.hold()
    account.release()
    account.doubt(Reason.REFERENCE_OLD)
    account.keep()
    account.leave_out()
    totals = account.totals()
    assert (totals.waiting, totals.held, totals.kept) == (2, 1, 0)
    assert totals.rejected == {Reason.OUTLIER: 1}
    assert totals.doubted == {Reason.REFERENCE_OLD: 1}
    assert str(totals).endswith("1 rejected, 2 waiting, 1 of them for a reference")
