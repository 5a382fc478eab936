"""The HTTP API: the roster's models through the OpenAI protocol, tokens, health and metrics."""
