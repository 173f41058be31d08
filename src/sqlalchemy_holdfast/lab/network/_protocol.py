"""Reading the client's side of MySQL connections: which commands were sent, and the text of the queries.

Only what counting needs. Sources: "Client/Server Protocol" in MySQL's source documentation (packets, handshake,
COM_QUERY, query attributes) and MariaDB's protocol pages (command bytes from 0xfa on).

A packet is 3 bytes of length, 1 of sequence number, then the payload. Every command begins with sequence number 0,
and nothing else that a client sends does: authentication packets and the data of LOAD DATA LOCAL continue the
server's numbering. Two cases only look like a beginning, because the number wraps after 255.
"""

from __future__ import annotations

from collections import Counter

STATEMENT_BYTES = 65_536
"""How much of each query's text is kept."""

_LONGEST_PACKET = 0xFFFFFF  # a payload of this length goes on in the next packet
_SSL_REQUEST_BYTES = 32

_CLIENT_COMPRESS = 1 << 5
_CLIENT_SSL = 1 << 11
_CLIENT_ZSTD_COMPRESSION = 1 << 26
_CLIENT_QUERY_ATTRIBUTES = 1 << 27

_COM_QUERY = 0x03
_NAMES = """
    COM_SLEEP COM_QUIT COM_INIT_DB COM_QUERY COM_FIELD_LIST COM_CREATE_DB COM_DROP_DB COM_REFRESH COM_SHUTDOWN
    COM_STATISTICS COM_PROCESS_INFO COM_CONNECT COM_PROCESS_KILL COM_DEBUG COM_PING COM_TIME COM_DELAYED_INSERT
    COM_CHANGE_USER COM_BINLOG_DUMP COM_TABLE_DUMP COM_CONNECT_OUT COM_REGISTER_SLAVE COM_STMT_PREPARE
    COM_STMT_EXECUTE COM_STMT_SEND_LONG_DATA COM_STMT_CLOSE COM_STMT_RESET COM_SET_OPTION COM_STMT_FETCH COM_DAEMON
    COM_BINLOG_DUMP_GTID COM_RESET_CONNECTION
"""
_COMMANDS = {**dict(enumerate(_NAMES.split())), 0xFA: "COM_STMT_BULK_EXECUTE", 0xFE: "COM_MULTI"}

# Bytes of a value in the binary protocol; types not named here are preceded by their length.
_VALUE_BYTES = {1: 1, 2: 2, 13: 2, 3: 4, 9: 4, 4: 4, 8: 8, 5: 8, 6: 0}
_TEMPORAL_TYPES = (7, 10, 11, 12)  # one byte of length


class CommandReader:
    """Reads one connection and adds what it finds to `counts` and `statements`.

    Reads nothing more once the connection turns to TLS or compression.
    """

    def __init__(self, counts: Counter[str], statements: list[str]) -> None:
        self._counts = counts
        self._statements = statements
        self._opaque = False
        self._authenticating = True
        self._greeting: bytearray | None = bytearray()
        self._server_flags = 0
        self._attributes = False
        self._header = bytearray()
        self._payload = bytearray()
        self._keep = False
        self._left = 0
        self._length = 0
        self._sequence = -1

    def server_sent(self, data: bytes) -> None:
        """Take bytes from the server; only its greeting, the first packet, matters."""
        if self._greeting is None:
            return
        self._greeting += data
        if len(self._greeting) < 4 or len(self._greeting) < 4 + int.from_bytes(self._greeting[:3], "little"):
            return
        payload, self._greeting = bytes(self._greeting[4:]), None
        version_end = payload.find(b"\0")
        flags = version_end + 1 + 4 + 8 + 1  # after the thread's id, eight bytes of scramble, a filler
        if payload[:1] == b"\x0a" and version_end > 0 and len(payload) >= flags + 7:
            high = flags + 2 + 1 + 2  # after the character set and the status
            self._server_flags = int.from_bytes(payload[flags : flags + 2] + payload[high : high + 2], "little")

    def client_sent(self, data: bytes) -> list[str]:
        """Take bytes from the client, cut anywhere; return the statements that these bytes have completed."""
        before = len(self._statements)
        self._read(data)
        return self._statements[before:]

    def _read(self, data: bytes) -> None:
        position, end = 0, len(data)
        while position < end and not self._opaque:
            if len(self._header) < 4:
                taken = min(4 - len(self._header), end - position)
                self._header += data[position : position + taken]
                position += taken
                if len(self._header) < 4:
                    return
                self._packet_begins(int.from_bytes(self._header[:3], "little"), self._header[3])
            taken = min(self._left, end - position)
            if self._keep and taken:
                room = STATEMENT_BYTES - len(self._payload)
                self._payload += data[position : position + min(taken, room)]
            position += taken
            self._left -= taken
            if self._left:
                return
            self._header.clear()
            if self._keep:
                self._packet_ended()

    def _packet_begins(self, length: int, sequence: int) -> None:
        continues = self._length == _LONGEST_PACKET or (self._sequence == 255 and self._length > 0)
        self._keep = self._authenticating or (sequence == 0 and not continues)
        self._length, self._sequence, self._left = length, sequence, length
        self._payload.clear()

    def _packet_ended(self) -> None:
        payload = bytes(self._payload)
        if self._authenticating:
            self._authenticating = False
            flags = int.from_bytes(payload[:4], "little")
            self._opaque = bool(
                (flags & _CLIENT_SSL and self._length == _SSL_REQUEST_BYTES)
                or flags & self._server_flags & (_CLIENT_COMPRESS | _CLIENT_ZSTD_COMPRESSION)
            )
            self._attributes = bool(flags & self._server_flags & _CLIENT_QUERY_ATTRIBUTES)
        elif payload:
            code = payload[0]
            self._counts[_COMMANDS.get(code, f"COM_0x{code:02x}")] += 1
            if code == _COM_QUERY:
                start = _after_attributes(payload) if self._attributes else 1
                self._statements.append(payload[start:].decode("utf-8", "backslashreplace"))


def _after_attributes(payload: bytes) -> int:
    """Return where the text of a COM_QUERY with query attributes begins."""
    count, position = _length_encoded(payload, 1)
    _, position = _length_encoded(payload, position)  # parameter sets, always 1
    if count == 0:
        return position
    nulls = payload[position : position + (count + 7) // 8]
    position += len(nulls) + 1  # and the flag that types follow
    types = []
    for _ in range(count):
        types.append(payload[position] if position < len(payload) else 6)
        name, position = _length_encoded(payload, position + 2)
        position += name
    for number, kind in enumerate(types):
        if nulls[number // 8] >> (number % 8) & 1:
            continue
        if kind in _VALUE_BYTES:
            position += _VALUE_BYTES[kind]
        elif kind in _TEMPORAL_TYPES:
            position += 1 + int.from_bytes(payload[position : position + 1], "little")
        else:
            size, position = _length_encoded(payload, position)
            position += size
    return position


def _length_encoded(payload: bytes, position: int) -> tuple[int, int]:
    """Return a length-encoded integer and the position behind it."""
    first = payload[position] if position < len(payload) else 0
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    if not size:
        return first, position + 1
    return int.from_bytes(payload[position + 1 : position + 1 + size], "little"), position + 1 + size
