"""A WebSocket by hand, which may break every rule."""

import base64
import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rig import DEADLINE_S  # noqa: E402

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


@dataclass
class Frame:
    opcode: int
    payload: bytes
    is_final: bool

    def code(self):
        """Of a Close."""
        return int.from_bytes(self.payload[:2], "big")


class Refused(Exception):
    """The upgrade was answered with this status."""

    def __init__(self, status):
        super().__init__(f"the upgrade was answered with {status}")
        self.status = status


class WebSocket:
    def __init__(self, host, port, path, token, headers=(), receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect((host, port))
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", *headers]
        if token is not None:
            lines.append(f"Sec-WebSocket-Protocol: {token}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.buffer = b""
        self.response = self.until_blank_line()
        status = int(self.response.split(b" ")[1])
        if status != 101:
            self.socket.close()
            raise Refused(status)

    def until_blank_line(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        response, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return response + b"\r\n\r\n"

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError("the broker ended the connection")
        self.buffer += got

    def take(self, n_bytes):
        while len(self.buffer) < n_bytes:
            self.more()
        taken, self.buffer = self.buffer[:n_bytes], self.buffer[n_bytes:]
        return taken

    def write(self, octets):
        self.socket.sendall(octets)

    def send(self, payload, opcode=BINARY):
        self.write(frame(payload, opcode))

    def recv_frame(self):
        first, second = self.take(2)
        assert second & 0x80 == 0, "the broker masks its frames"
        n_bytes = second & 0x7F
        if n_bytes == 126:
            n_bytes = int.from_bytes(self.take(2), "big")
        elif n_bytes == 127:
            n_bytes = int.from_bytes(self.take(8), "big")
        assert first & 0x70 == 0, "the broker sets reserved bits"
        return Frame(first & 0x0F, self.take(n_bytes), first & 0x80 != 0)

    def recv(self):
        """The next message; of nothing but binary ones."""
        parts = [self.recv_frame()]
        assert parts[0].opcode == BINARY, f"a frame of opcode {parts[0].opcode} came: {parts[0].payload[:100]}"
        while not parts[-1].is_final:
            parts.append(self.recv_frame())
            assert parts[-1].opcode == CONTINUATION, f"inside a message a frame of opcode {parts[-1].opcode} came"
        return b"".join(part.payload for part in parts)

    def end(self):
        """How the broker ends the connection: the code of its Close, or None where it just ends, after messages that are passed over."""
        try:
            while (frame := self.recv_frame()).opcode != CLOSE:
                pass
            return frame.code()
        except (EOFError, ConnectionResetError):
            return None

    def is_quiet(self, seconds):
        """Whether nothing comes and the connection stays for so long."""
        self.socket.settimeout(seconds)
        try:
            return not self.buffer and self.socket.recv(1) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(DEADLINE_S)

    def reset(self):
        """Ends it with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def drop(self):
        """Ends it with a FIN."""
        self.socket.close()


def frame(payload, opcode=BINARY, is_final=True, mask=MASK, reserved=0, length=None):
    """A frame; `length`: what it says to be long. Without a mask, as a client must not send it."""
    n_bytes = len(payload) if length is None else length
    head = bytes([(0x80 if is_final else 0) | reserved << 4 | opcode])
    bit = 0x80 if mask else 0
    if n_bytes < 126:
        head += bytes([bit | n_bytes])
    elif n_bytes < 65536:
        head += bytes([bit | 126]) + n_bytes.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + n_bytes.to_bytes(8, "big")
    return head + (mask + masked(payload, mask) if mask else payload)


def masked(payload, mask):
    key = int.from_bytes((mask * (len(payload) // 4 + 1))[:len(payload)], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(len(payload), "big")


def close(code):
    return frame(code.to_bytes(2, "big"), CLOSE)
