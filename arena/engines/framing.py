"""What a model version puts in front of every conversation: its system prompt and its few-shot examples."""

from __future__ import annotations

from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation, Message


def framed(spec: ModelSpec, conversation: Conversation) -> Conversation:
    """The conversation as the model is to see it.

    Many templates take one system message alone, so a conversation's own leading system message is joined to
    the one of the spec, after it. Few-shot examples follow the system message as earlier rounds.
    """
    messages = conversation.messages
    system = [spec.system_prompt] if spec.system_prompt else []
    if messages and messages[0].role == "system":
        system.append(messages[0].content)
        messages = messages[1:]
    front: list[Message] = []
    if system:
        front.append(Message(role="system", content="\n\n".join(system)))
    for example in spec.few_shot:
        front.append(Message(role="user", content=example.user))
        front.append(Message(role="assistant", content=example.assistant))
    return Conversation(messages=(*front, *messages))
