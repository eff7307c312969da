"""The agent on a bad line: packet loss, cuts, and forgotten connections."""
