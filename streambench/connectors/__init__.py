"""The connectors that streambench brings, one file each."""
