"""Tests of the brokers, on real servers."""
