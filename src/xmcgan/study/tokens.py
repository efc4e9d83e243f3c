"""Secrets: made at random, stored as hashes, compared in constant time."""

import hmac
import re
import secrets
from hashlib import sha256

TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def new_token() -> str:
    """An unguessable token of 192 random bits, 32 characters that need no quoting in a link."""
    return secrets.token_urlsafe(24)


def token_hash(token: str) -> str:
    """What the store keeps of a token. It is random, so a plain hash cannot be searched."""
    return sha256(token.encode()).hexdigest()


def matches(token: str, stored: str) -> bool:
    """Whether a token has a stored hash."""
    return bool(TOKEN.fullmatch(token)) and hmac.compare_digest(token_hash(token), stored)


def csrf_token(token: str) -> str:
    """What a form of the administrator's carries to show that our page sent it."""
    return hmac.new(token.encode(), b"form", sha256).hexdigest()
