"""h2 as it is used here: it is shown no header fields, and remembers no more than it has to.

A request's fields are kept for us to read, so that a malformed request is answered like any other instead of ending the
connection; a client's other faults raise h2's ProtocolError, with what h2 says about them among the data to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import Decoder
from hpack.exceptions import OversizedHeaderListError
from hpack.hpack import decode_integer

from reference_server.limits import (
    HEAD_MAX_BYTES,
    HTTP2_CLOSED_STREAMS_MAX,
    HTTP2_ENCODER_TABLE_MAX_BYTES,
    HTTP2_FRAME_MAX_BYTES,
    HTTP2_HEADERS_MAX_BYTES,
    HTTP2_STREAMS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h2.events import RemoteSettingsChanged
    from hpack import HeaderTuple

    from reference_server.http.http2_fields import Field


_TEXT_PREFIX_BITS = 7


class FieldDecoder(Decoder):
    """Decodes header blocks, keeps the fields of the last one, and shows h2 none of them."""

    def __init__(self) -> None:
        super().__init__(HTTP2_HEADERS_MAX_BYTES)
        self.oversized = False
        """A block was too large to be decoded to its end. No later one can be read."""
        self._fields: list[Field] = []

    def decode(self, data: bytes, raw: bool = False) -> Iterable[Field]:  # type: ignore[override]  # noqa: FBT001, FBT002 - as hpack has it
        """Decode a block. Raises hpack's errors."""
        del raw
        self._fields = []
        try:
            super().decode(data, raw=True)
        except OversizedHeaderListError:
            self.oversized = True
        return ()

    def _decode_indexed(self, data: bytes | memoryview) -> tuple[HeaderTuple, int]:
        """Decode one field that is in a table."""
        return self._kept(super()._decode_indexed(data))

    def _decode_literal(self, data: bytes | memoryview, should_index: bool) -> tuple[HeaderTuple, int]:  # noqa: FBT001 - as hpack has it
        """Decode one literal field. hpack would copy all that is behind it, so that many cost the square of them."""
        return self._kept(super()._decode_literal(data[: _literal_bytes(data, 6 if should_index else 4)], should_index))

    def _kept(self, decoded: tuple[HeaderTuple, int]) -> tuple[HeaderTuple, int]:
        """Keep a field. hpack would return none of a block that is too large, whose method says how to answer it."""
        name, value = decoded[0]
        self._fields.append((bytes(name), bytes(value)))
        return decoded

    def take(self) -> list[Field]:
        """Return the fields of the last block, as many as were decoded, and forget them."""
        fields, self._fields = self._fields, []
        return fields


def _literal_bytes(data: bytes | memoryview, prefix_bits: int) -> int:
    """Return how many bytes a literal field takes, the block not being shorter (RFC 7541 §6.2). Raises hpack's errors.

    It is a number, which names a known name, and two texts, or one where the name is known; a text is its length, by
    the last seven bits of its first byte, and so many bytes.
    """
    known, size = decode_integer(data, prefix_bits)
    for _ in range(1 if known else 2):
        length, consumed = decode_integer(data[size:], _TEXT_PREFIX_BITS)
        size += consumed + length
    return size


class BoundedH2(H2Connection):
    """The server's side of an HTTP/2 connection. Its settings are the first that it has to send."""

    MAX_CLOSED_STREAMS = HTTP2_CLOSED_STREAMS_MAX

    def __init__(self) -> None:
        config = H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        super().__init__(config)
        self.decoder: FieldDecoder = FieldDecoder()
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: HTTP2_STREAMS_MAX,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_MAX_BYTES,
            },
        )
        self.initiate_connection()

    def bound_encoder(self, changed: RemoteSettingsChanged) -> None:
        """Remember little of our answers' headers, whatever the client offers to remember."""
        table = changed.changed_settings.get(SettingCodes.HEADER_TABLE_SIZE)
        if table is not None:
            self.encoder.header_table_size = min(table.new_value, HTTP2_ENCODER_TABLE_MAX_BYTES)

    def window(self, stream_id: int) -> int:
        """Return how many bytes may be sent on a stream in one frame, now."""
        return min(self.local_flow_control_window(stream_id), self.max_outbound_frame_size, HTTP2_FRAME_MAX_BYTES)

    def cut(self) -> None:
        """Forget everything, once nothing is sent or received any more: its table of what to do refers back to it."""
        vars(self).clear()
