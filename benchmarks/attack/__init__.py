"""Attacks on a page of one's own, on loopback."""
