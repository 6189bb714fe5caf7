"""All keys, by the id of their question, in the order of QUESTIONS."""

from importlib import import_module

from minivit.checks.questions import QUESTIONS

KEYS = {id: import_module(f"{__name__}.{id.replace('-', '_')}").KEY for id in QUESTIONS}
