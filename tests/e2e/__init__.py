"""End-to-end tests: a real Home Assistant, the real agent, a real S3 server."""
