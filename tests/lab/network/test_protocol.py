"""Commands are told from everything else a client sends, however the bytes are cut."""

from __future__ import annotations

from collections import Counter

import pytest

from sqlalchemy_holdfast.lab.network._protocol import STATEMENT_BYTES, CommandReader

PROTOCOL_41, SSL, COMPRESS, QUERY_ATTRIBUTES = 1 << 9, 1 << 11, 1 << 5, 1 << 27
LONGEST = 0xFFFFFF


def packet(sequence: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def greeting(flags: int) -> bytes:
    low, high = flags.to_bytes(4, "little")[:2], flags.to_bytes(4, "little")[2:]
    return packet(0, b"\x0a10.11.6-x\0" + bytes(4 + 8 + 1) + low + b"\x2d\x02\0" + high + bytes(30))


class Read:
    def __init__(self, flags: int = PROTOCOL_41, server_flags: int | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.statements: list[str] = []
        self.reader = CommandReader(self.counts, self.statements)
        for byte in greeting(flags if server_flags is None else server_flags):
            self.reader.server_sent(bytes([byte]))
        size = 32 if flags & SSL else 60
        self.reader.client_sent(packet(1, flags.to_bytes(4, "little").ljust(size, b"\0")))

    def sent(self, data: bytes, cut: int | None = None) -> dict[str, int]:
        for start in range(0, len(data), cut or len(data)):
            self.reader.client_sent(data[start : start + (cut or len(data))])
        return dict(self.counts)


@pytest.mark.parametrize("cut", [None, 1, 3, 5])
def test_pipelined_commands_are_counted_each(cut: int | None) -> None:
    read = Read()
    data = packet(0, b"\x03ROLLBACK") + packet(0, "\x03SELECT 'é'".encode()) + packet(0, b"\x0e") + packet(0, b"\x01")
    assert read.sent(data, cut) == {"COM_QUERY": 2, "COM_PING": 1, "COM_QUIT": 1}
    assert read.statements == ["ROLLBACK", "SELECT 'é'"]


def test_authentication_is_not_a_command() -> None:
    read = Read()
    assert read.sent(packet(3, b"\x03" + bytes(19)) + packet(5, b"\x02")) == {}
    assert read.sent(packet(0, b"\x11other\0") + packet(2, bytes(20)) + packet(0, b"\x1f")) == {
        "COM_CHANGE_USER": 1,
        "COM_RESET_CONNECTION": 1,
    }


@pytest.mark.slow
def test_a_command_longer_than_a_packet_is_one_command() -> None:
    read = Read()
    data = packet(0, b"\x03" + b"a" * (LONGEST - 1)) + packet(1, b"b" * LONGEST) + packet(2, b"") + packet(0, b"\x0e")
    assert read.sent(data, 65_536) == {"COM_QUERY": 1, "COM_PING": 1}
    assert [len(statement) for statement in read.statements] == [STATEMENT_BYTES - 1]


def test_the_data_of_load_data_local_are_not_commands_when_their_numbers_wrap() -> None:
    read = Read()
    data = packet(0, b"\x03LOAD DATA LOCAL")
    data += b"".join(packet((2 + n) % 256, b"\x0e row") for n in range(600))
    data += packet((2 + 600) % 256, b"") + packet(0, b"\x0e")
    assert read.sent(data) == {"COM_QUERY": 1, "COM_PING": 1}


def test_a_command_is_seen_after_local_data_that_end_at_the_last_number() -> None:
    read = Read()
    data = packet(0, b"\x03LOAD DATA LOCAL") + b"".join(packet(n, b"row") for n in range(2, 255)) + packet(255, b"")
    assert read.sent(data + packet(0, b"\x0e")) == {"COM_QUERY": 1, "COM_PING": 1}


@pytest.mark.parametrize(
    "attributes",
    [
        b"\x00\x01",
        # two attributes: an 8 byte number and a string, with names
        b"\x02\x01\x00\x01" + b"\x08\x00\x01n" + b"\xfe\x00\x04name" + bytes(8) + b"\x05value",
        # three, the first null, then a date and a double
        b"\x03\x01\x01\x01"
        + b"\x06\x00\x01n"
        + b"\x0c\x00\x01d"
        + b"\x05\x00\x00"
        + b"\x04\xe8\x07\x01\x01"
        + bytes(8),
    ],
)
def test_query_attributes_are_not_part_of_the_text(attributes: bytes) -> None:
    read = Read(PROTOCOL_41 | QUERY_ATTRIBUTES)
    assert read.sent(packet(0, b"\x03" + attributes + b"SELECT 1")) == {"COM_QUERY": 1}
    assert read.statements == ["SELECT 1"]


def test_attributes_are_only_there_when_both_ends_agreed() -> None:
    read = Read(PROTOCOL_41 | QUERY_ATTRIBUTES, server_flags=PROTOCOL_41)
    read.sent(packet(0, b"\x03SELECT 1"))
    assert read.statements == ["SELECT 1"]


@pytest.mark.parametrize("flag", [SSL, COMPRESS])
def test_nothing_is_read_into_tls_or_compression(flag: int) -> None:
    assert Read(PROTOCOL_41 | flag).sent(packet(0, b"\x03SELECT 1")) == {}


def test_compression_that_the_server_does_not_offer_is_not_used() -> None:
    assert Read(PROTOCOL_41 | COMPRESS, server_flags=PROTOCOL_41).sent(packet(0, b"\x0e")) == {"COM_PING": 1}


def test_unknown_commands_have_their_number_and_odd_text_is_kept() -> None:
    read = Read()
    assert read.sent(packet(0, b"\x77") + packet(0, b"\xfa") + packet(0, b"\x03SELECT '\xff'")) == {
        "COM_0x77": 1,
        "COM_STMT_BULK_EXECUTE": 1,
        "COM_QUERY": 1,
    }
    assert read.statements == [r"SELECT '\xff'"]
