"""Proofs by experiment that the numbers are true: real runs in which the truth is known."""
