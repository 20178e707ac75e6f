"""The brokers that streambench brings, one file each."""
