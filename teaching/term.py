"""Hidden cases that nobody can know beforehand: drawn from a secret of the term.

Nothing in a public repository is secret, so seeds and sizes come from HMAC-SHA256(secret, question
and learner). `make term` writes the secret to `.term`, which git ignores; keep it with the marks:
the same secret gives the same cases, and so the same mark, again.
"""

import argparse
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path

import numpy as np

TERM_FILE = Path(__file__).resolve().parents[1] / ".term"


def variant_rng(secret, question_id, learner):
    """The random stream of one learner's variant of one question."""
    message = f"{question_id}\n{learner}".encode()
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def hidden_cases(key, secret, learner):
    """The hidden cases of one learner."""
    cases = key.hidden(variant_rng(secret, key.question.id, learner))
    assert len(cases) == key.question.hidden, key.question.id
    return cases


def read_secret(path=TERM_FILE):
    """The term's secret as bytes. ValueError where there is none, or it is too short."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: make the secret of this term first, with `make term`")
    secret = path.read_bytes().strip()
    if len(secret) < 32:
        raise ValueError(f"{path} holds {len(secret)} characters; a secret has 32 or more")
    return secret


def write_secret(path=TERM_FILE):
    """Writes a new secret, for its owner alone to read. ValueError where there is one already."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ValueError(
            f"{path} exists; another secret would change every learner's cases. Move it away first"
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m teaching.term", description="Writes the secret of a new term to .term."
    ).parse_args()
    try:
        write_secret()
    except ValueError as error:
        sys.exit(str(error))
    print(f"wrote {TERM_FILE}; keep a copy with the marks of this term")
