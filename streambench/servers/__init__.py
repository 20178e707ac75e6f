"""Servers that streambench starts itself: an embedded Redis, a one-node Kafka."""
