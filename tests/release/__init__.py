"""Tests of the release: the script, the tag that it makes, and what others expect of it."""
