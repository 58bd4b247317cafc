"""Attacks on a page that runs on loopback."""
