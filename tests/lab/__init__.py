"""Real parts for tests and benchmarks: an S3 server, the agent, Home Assistant."""
