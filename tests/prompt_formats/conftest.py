"""Tokenizers that many tests share."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _made() -> ModuleType:
    """The helper module beside this file (importlib mode puts no test folder on the path)."""
    name = "tests_prompt_formats_tokenizers_made"
    if name not in sys.modules:
        path = Path(__file__).with_name("tokenizers_made.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def made() -> Any:
    """The module that makes tokenizers."""
    return _made()


@pytest.fixture(scope="session", params=["byte_level", "sentencepiece_bpe", "unigram"])
def made_tokenizer(request: pytest.FixtureRequest, made: Any) -> Any:
    """A tokenizer of each kind with all families' control tokens."""
    return made.with_control_tokens(made.KINDS[request.param](), made.control_tokens())
