"""Secrets: made at random, stored as hashes, compared in constant time."""

import hmac
import re
import secrets
from hashlib import sha256

TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def new_token() -> str:
    """An unguessable token of 192 random bits, 32 characters that need no escaping in a link."""
    return secrets.token_urlsafe(24)


def token_hash(token: str) -> str:
    """The hash of a token, which is stored. Tokens are random, so even a plain hash cannot be reversed by guessing."""
    return sha256(token.encode()).hexdigest()


def matches(token: str, stored: str) -> bool:
    """Whether a token matches a stored hash."""
    return bool(TOKEN.fullmatch(token)) and hmac.compare_digest(token_hash(token), stored)


def csrf_token(token: str) -> str:
    """The value in an administrator's form that shows that our page sent it."""
    return hmac.new(token.encode(), b"form", sha256).hexdigest()
