"""Prompt formats: one conversation, rendered exactly as each open model was trained to see it."""

from prompt_formats.conversation import Conversation, Message
from prompt_formats.errors import InvalidInput, OverBudget, PromptFormatError, TemplateFailed, UnknownFormat
from prompt_formats.masks import TrainingEncoding, encode_for_training
from prompt_formats.parse import ParsedDelta, ParsedResponse, ResponseParser, parser_for
from prompt_formats.prompt_format import PromptFormat
from prompt_formats.registry import Registry, built_in, load_registry
from prompt_formats.render import family_policies, render
from prompt_formats.rendered_prompt import RenderedPrompt
from prompt_formats.resolve import Resolution, resolve
from prompt_formats.tokenizer import ChatTokenizer, load_tokenizer
from prompt_formats.windows import Compose, LastRounds, Search, Summary, TokenBudget, window_from

__all__ = [
    "ChatTokenizer",
    "Compose",
    "Conversation",
    "InvalidInput",
    "LastRounds",
    "Message",
    "OverBudget",
    "ParsedDelta",
    "ParsedResponse",
    "PromptFormat",
    "PromptFormatError",
    "Registry",
    "RenderedPrompt",
    "Resolution",
    "ResponseParser",
    "Search",
    "Summary",
    "TemplateFailed",
    "TokenBudget",
    "TrainingEncoding",
    "UnknownFormat",
    "built_in",
    "encode_for_training",
    "family_policies",
    "load_registry",
    "load_tokenizer",
    "parser_for",
    "render",
    "resolve",
    "window_from",
]
