"""Tests of the loop monitor, on real loops that are really blocked."""
