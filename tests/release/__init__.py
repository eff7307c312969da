"""Tests of the release: the script, its tag, and the requirements of others."""
