"""libnanomsg, as far as the scenarios need it. Debian has no package that binds it for Python."""

import ctypes
import ctypes.util
import os

AF_SP = 1
NN_MSG = ctypes.c_size_t(-1)
ROLES = {"pair": 16, "pub": 32, "sub": 33, "req": 48, "rep": 49, "push": 80, "pull": 81, "surveyor": 98, "respondent": 99, "bus": 112}
# Levels of options, and options.
SOCKET, RECEIVE_BUFFER, RECEIVE_TIMEOUT, RECEIVE_MAX = 0, 3, 5, 16
SUBSCRIBE = 1
DEADLINE = 1
ETIMEDOUT = 110
# libnanomsg's own: nothing can be received in this state, as when a survey is over.
EFSM = 156384766

_library = ctypes.CDLL(ctypes.util.find_library("nanomsg") or "libnanomsg.so.5", use_errno=True)
_library.nn_recv.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_int]
_library.nn_send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
_library.nn_connect.argtypes = [ctypes.c_int, ctypes.c_char_p]
_library.nn_setsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_library.nn_freemsg.argtypes = [ctypes.c_void_p]


class Over(Exception):
    """No more answers to this survey."""


class Socket:
    def __init__(self, role, url, topics=()):
        self.role = role
        self.socket = checked(_library.nn_socket(AF_SP, ROLES[role]))
        for topic in topics:
            checked(_library.nn_setsockopt(self.socket, ROLES["sub"], SUBSCRIBE, topic, len(topic)))
        checked(_library.nn_connect(self.socket, url.encode()))

    def send(self, body):
        checked(_library.nn_send(self.socket, body, len(body), 0))

    def recv(self):
        buffer = ctypes.c_void_p()
        n_bytes = _library.nn_recv(self.socket, ctypes.byref(buffer), NN_MSG, 0)
        if n_bytes < 0 and self.role == "surveyor" and ctypes.get_errno() in (ETIMEDOUT, EFSM):
            raise Over
        checked(n_bytes)
        body = ctypes.string_at(buffer, n_bytes)
        _library.nn_freemsg(buffer)
        return body

    def close(self):
        _library.nn_close(self.socket)


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
