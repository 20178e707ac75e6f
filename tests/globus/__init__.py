"""Globus Compute: everything real but its hosted web service and login, which are a stand-in."""
