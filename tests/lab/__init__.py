"""The real parts that tests and benchmarks run against: an S3 server, the agent, Home Assistant."""
