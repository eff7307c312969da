"""Tests of the image and of compose.yaml in real containers, and of the static binaries."""
