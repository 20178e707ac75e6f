"""The executors that streambench brings, one file each."""
