"""A sample of what `make fuzz` runs, and every input that was ever worth keeping."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cade.wire import FORMATS, Buffer, Decoder, Message, WireError
from tests.fuzz import corpus, shard, trial
from tests.fuzz.session import STEPS, Session, Step, session
from tests.fuzz.target import Variant
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import MEMORY_BYTES, pool_of

SAMPLE = 10_000


def test_every_format_is_fuzzed() -> None:
    assert set(FORMATS) <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_sample(name: str, tmp_path: Path) -> None:
    """In a process of its own, with a limit on its memory and on the time of a session."""
    count = -(-SAMPLE // (len(TARGETS) * STEPS))
    (result,), inputs = shard.runner(tmp_path)(shard.Shard(name, 0, 0, count))
    assert [one.reason for one in inputs if one.reason] == []
    assert result["inputs"] == count * STEPS
    assert result["parsed"] > 0.5 * result["inputs"]
    assert 0.05 < sum(
        number for words, number in result["outcomes"].items() if words.startswith("accepted")
    ) / result["inputs"] < 0.6  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """Alone and with good series between, as when it was found."""
    target, tally = TARGETS[name](), trial.Tally()
    found = list(corpus.kept(name))
    assert found
    for path, options, messages in found:
        steps = tuple(Step("kept", message) for message in messages)
        variants = [one for one in target.variants if corpus.plain(one.options) == options]
        assert variants, f"{path.name} is of options that are no more tried"
        trial.run(target, Session(variants[0], steps), tally)


def test_sessions_repeat() -> None:
    target = TARGETS["array-1.0"]()
    first, second = (session(target, pool_of("array-1.0"), 3, 5) for _ in range(2))
    assert [step.message for step in first.steps] == [step.message for step in second.steps]
    other = session(target, pool_of("array-1.0"), 3, 6)
    assert [step.message for step in first.steps] != [step.message for step in other.steps]


class Forgetful:
    """A decoder with a fault: after a hostile message good ones are refused, or worse."""

    def __init__(self, inner: Decoder, fault: type[Exception] | None) -> None:
        self._inner, self._fault, self._hurt = inner, fault, False

    def forget(self) -> None:
        self._inner.forget()

    def decode(self, parts: Sequence[Buffer]) -> tuple[Message, ...]:
        if self._hurt:
            return ()
        try:
            return self._inner.decode(parts)
        except WireError:
            if self._fault is not None:
                raise self._fault("broken") from None
            self._hurt = True
            raise


@pytest.mark.parametrize("fault", [None, KeyError, MemoryError])
def test_faults_are_found(fault: type[Exception] | None) -> None:
    target = TARGETS["array-1.0"]()
    decoder = Forgetful(target.make({}), fault)
    broken = dataclasses.replace(target, make=lambda _: decoder)
    found = Session(Variant({}, target.variants[0].good), (Step("raw", [b"{"]),) * 4)
    with pytest.raises(trial.Fault) as caught:
        trial.run(broken, found, trial.Tally())
    assert caught.value.steps == 1


def test_a_process_that_dies_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here each session takes too long: what it was sent is known, and the next one is tried."""
    monkeypatch.setenv("CADE_FUZZ_LIMIT_S", "0.0001")
    results, inputs = shard.runner(tmp_path)(shard.Shard("odin", 0, 7, 2))
    assert results == []
    assert [one.reason.split(":")[0] for one in inputs] == ["session 7", "session 8"]
    assert all("the process ended with -14" in one.reason for one in inputs)
    assert len(inputs[0].messages) == STEPS


@pytest.mark.parametrize(("beyond", "allowed"), [(-(64 << 20), True), (64 << 20, False)])
def test_memory_is_limited(beyond: int, allowed: bool) -> None:
    size = MEMORY_BYTES + beyond
    code = f"from tests.fuzz import worker; worker.limit_memory(); bytearray({size})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shard.ROOT, capture_output=True, check=False
    )
    assert (done.returncode == 0) is allowed
    assert (b"MemoryError" in done.stderr) is not allowed


def test_new_inputs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    rng = random.Random(1)
    messages = [[rng.randbytes(9)], []]
    path = corpus.keep("odin", {"channel": "a", "clock": None}, messages)
    ((found, options, read),) = corpus.kept("odin")
    assert (found, options, read) == (path, {"channel": "a", "clock": None}, messages)
