"""Tests of the agent's image and of compose.yaml, in real containers, and of the static binaries."""
