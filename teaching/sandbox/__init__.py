"""Runs learners' code where it can read no key and change no mark. See `box`."""
