"""Tests of streambench."""
