"""The addresses of agents."""

from urllib.parse import urlsplit


class InvalidAddressError(ValueError):
    """The address is neither a socket's nor a server's."""


def normalize_address(address: str) -> str:
    """Return the one way to write an address: `unix:///path`, `http://host:port` or `https://host:port`.

    Raises InvalidAddressError when it is neither.
    """
    address = address.strip()
    if address.startswith("/"):
        address = f"unix://{address}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as err:
        raise InvalidAddressError(address) from err
    if parts.scheme == "unix":
        # A path may hold what would be a query or a fragment elsewhere.
        path = address[len("unix://") :]
        if not path.startswith("/") or path.endswith("/"):
            raise InvalidAddressError(address)
        return f"unix://{path}"
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or extra:
        raise InvalidAddressError(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
