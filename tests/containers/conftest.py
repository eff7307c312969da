"""What the tests of containers share: figures, and a server for buckets."""

pytest_plugins = ["lab.fixtures"]
