"""Plugins for streambench, found through the entry points of their package."""
