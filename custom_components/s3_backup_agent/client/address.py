"""Addresses of agents."""

from urllib.parse import urlsplit


class InvalidAddressError(ValueError):
    """Raised for an address that is neither a socket's nor a server's."""


def normalize_address(address: str) -> str:
    """Return the canonical address: `unix:///path`, `http://host:port` or `https://host:port`.

    Raises InvalidAddressError for any other.
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
        # A path may contain `?` and `#`.
        path = address[len("unix://") :]
        if not path.startswith("/") or path.endswith("/"):
            raise InvalidAddressError(address)
        return f"unix://{path}"
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or extra:
        raise InvalidAddressError(address)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
