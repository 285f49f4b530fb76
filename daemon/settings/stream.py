"""The table of a detector's stream."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from daemon.settings.section import Positive, Section


class StreamSettings(Section):
    """A detector's ZeroMQ stream."""

    kind: Literal["stream"] = "stream"
    format: Literal["dectris-v2", "dectris-v1", "array-1.0", "odin", "karabo", "stins"] = Field(
        description="wire format"
    )
    endpoint: str = Field(
        description="for example tcp://127.0.0.1:31001", pattern=r"^(tcp|ipc)://.+"
    )
    socket: Literal["pull", "sub", "req"] = Field(
        "pull", description="for a detector that offers push, pub, or rep (karabo only)"
    )
    bind: bool = Field(False, description="bind the endpoint instead of connecting to it")
    role_key: str = Field("role", description="key of the header or user_data that names the role")
    channel: str | None = Field(
        None,
        description="which of several images: detector channel, dataset (odin), number from 1 "
        "(stins) or source[key] (karabo); the first one if not given",
    )
    queue_frames: int = Field(64, gt=0, description="high-water mark of the socket, in messages")
    silence_s: Positive | None = Field(
        None, description="a series without an end message ends after this silence"
    )
    max_message_bytes: int = Field(1 << 30, gt=0, description="larger messages are refused")

    @model_validator(mode="after")
    def _asks_only_a_bridge(self) -> StreamSettings:
        if self.socket == "req" and self.format != "karabo":
            raise ValueError(f"socket = 'req' goes with format = 'karabo', not '{self.format}'")
        if self.socket == "req" and self.bind:
            raise ValueError("socket = 'req' connects to the bridge: leave bind = true out")
        return self
