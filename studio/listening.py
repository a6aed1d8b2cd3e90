"""A listening socket whose answers leave at once."""

import socket


def listening_socket(host: str, port: int, *, family: int = socket.AF_INET) -> socket.socket:
    """Listen on an address; port 0 is any that is free. Raises OSError.

    Each connection inherits TCP_NODELAY. Python's event loop sets it only where a socket names its protocol, and
    those of `create_server` do not: the end of an answer then waits until the reader has confirmed its beginning.
    """
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
