"""The table of a detector's stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from daemon.settings.section import Positive, Section

Endpoint = Annotated[str, Field(pattern=r"^(tcp|ipc)://.+")]

IMPLIED_SILENCE_S = 10.0
"""Ends a series of a format that has no end messages, where nothing else is set."""
_WITHOUT_END = ("array-1.0", "odin", "karabo")


class StreamSettings(Section):
    """A detector's ZeroMQ stream."""

    kind: Literal["stream"] = "stream"
    format: Literal["dectris-v2", "dectris-v1", "array-1.0", "odin", "karabo", "stins"] = Field(
        description="wire format"
    )
    endpoint: Endpoint = Field(description="for example tcp://127.0.0.1:31001")
    more_endpoints: tuple[Endpoint, ...] = Field(
        (),
        description="where other modules of this detector send images of the same series; another "
        "detector is another source",
    )
    socket: Literal["pull", "sub", "req"] = Field(
        "pull", description="for a detector that offers push, pub, or rep (karabo only)"
    )
    bind: bool = Field(False, description="bind the endpoints instead of connecting to them")
    role_key: str = Field("role", description="key of the header or user_data that names the role")
    channel: str | None = Field(
        None,
        description="which of several images: detector channel, dataset (odin), number from 1 "
        "(stins) or source[key] (karabo); the first one if not given",
    )
    detector: str = Field(
        "",
        description="the detector's name, where the stream states none: the references of one "
        "never serve another",
    )
    detector_calibration: bool = Field(
        False,
        description="take the flat field and the pixel mask of the start message (dectris-v2, and "
        'dectris-v1 with header_detail "all")',
    )
    queue_bytes: int = Field(
        512 << 20,
        gt=0,
        description="memory for messages that wait to be decoded (three quarters) and for images "
        "that wait to be in order (one quarter); at least one of each",
    )
    reorder_frames: int = Field(
        16,
        ge=0,
        description="so many frames may wait for one with a smaller image id; 0 = none waits. In "
        "odin and karabo, which leave images out, none ever does",
    )
    reorder_s: Positive = Field(
        0.5, description="they wait no longer than this while nothing else comes"
    )
    silence_s: Positive | None = Field(
        None,
        description="a series without an end message ends after this silence; without a value "
        f"after {IMPLIED_SILENCE_S:g} s in array-1.0, odin and karabo, which have no end messages, "
        "and never in the others",
    )
    max_message_bytes: int = Field(1 << 30, gt=0, description="larger messages are refused")
    heartbeat_s: float = Field(
        5.0,
        ge=0,
        allow_inf_nan=False,
        description="a silent peer is asked for a sign of life this often, and connected to anew "
        "when it has given none for four times as long; 0 = never",
    )
    curve_secret_key: Path | None = Field(
        None,
        description="file of this daemon's CURVE key pair (cade keys generate); with it the stream "
        "is encrypted",
    )
    curve_server_key: Path | None = Field(
        None, description="file of the detector's public CURVE key, where the detector binds"
    )
    curve_allowed_keys: tuple[Path, ...] = Field(
        (),
        description="files of public CURVE keys, or folders of *.key files, whose owners may "
        "connect, where bind = true",
    )

    @property
    def endpoints(self) -> tuple[str, ...]:
        """All of them."""
        return (self.endpoint, *self.more_endpoints)

    @property
    def end_silence_s(self) -> float | None:
        """The silence that ends a series; None where none does."""
        if self.silence_s is None and self.format in _WITHOUT_END:
            return IMPLIED_SILENCE_S
        return self.silence_s

    @model_validator(mode="after")
    def _asks_only_a_bridge(self) -> StreamSettings:
        if self.socket != "req":
            return self
        if self.format != "karabo":
            raise ValueError(f"socket = 'req' goes with format = 'karabo', not '{self.format}'")
        if self.bind:
            raise ValueError("socket = 'req' connects to the bridge: leave bind = true out")
        if self.more_endpoints:
            raise ValueError(
                "socket = 'req' asks one bridge: make another [[sources]] of more_endpoints"
            )
        return self

    @model_validator(mode="after")
    def _endpoints_of_one_series(self) -> StreamSettings:
        if len(set(self.endpoints)) < len(self.endpoints):
            raise ValueError("endpoint and more_endpoints name the same endpoint twice")
        if self.more_endpoints and self.format == "stins":
            raise ValueError(
                "the images of 'stins' do not say to which series they belong, so those of several "
                "endpoints cannot be told apart: leave more_endpoints out"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_one_side(self) -> StreamSettings:
        given = self.curve_secret_key is not None
        if self.bind:
            if self.curve_server_key is not None:
                raise ValueError(
                    "with bind = true this daemon is the server: put the public key of the "
                    "detector into curve_allowed_keys, not into curve_server_key"
                )
            if given != bool(self.curve_allowed_keys):
                raise ValueError(
                    "encryption with bind = true needs both curve_secret_key and curve_allowed_keys"
                )
            return self
        if self.curve_allowed_keys:
            raise ValueError("curve_allowed_keys goes with bind = true: here the detector decides")
        if given != (self.curve_server_key is not None):
            raise ValueError("encryption needs both curve_secret_key and curve_server_key")
        return self
