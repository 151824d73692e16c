"""Errors that a user gets, expected by parts of their text."""

import re
from typing import Any

import pytest


def raises(*parts: str) -> Any:
    """Expects a ValueError whose text has these parts in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, parts)))
