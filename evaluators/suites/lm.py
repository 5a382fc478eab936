"""lm-eval's `LM` on our engines: its tasks run with our prompt formats, adapters, quantisation and endpoints.

Chat prompts stay conversations until an engine renders them. Answers come from an `Answerer`, which keeps them by the
model's whole identity.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from arena.engines.base import GenerationRequest, OverContext, Sampling, ScoreRequest
from evaluators.suites.answering import Answered
from evaluators.suites.errors import SuiteError
from prompt_formats import Conversation

log = logging.getLogger(__name__)

Answerer = Callable[[Sequence[GenerationRequest | ScoreRequest]], list[Answered]]
"""Gives the answers to requests, in order. Raises EngineError and NeedsLoglikelihood."""

MAX_TOKENS = 256
"""What lm-eval generates where a task does not say (its `max_gen_toks`)."""
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_OF_BEAMS = {"num_beams": 1, "use_cache": True, "early_stopping": False, "num_return_sequences": 1}


class ChatText(str):
    """A conversation as JSON text: lm-eval handles prompts as strings and hands them back as they are."""

    __slots__ = ()

    def conversation(self) -> Conversation:
        """The conversation."""
        return Conversation.from_chat(json.loads(self))


class EngineLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """One model version as lm-eval sees it. `name` stands in its logs; `answer_ids` gives the stored answer of a
    prompt (the first request with it)."""

    def __init__(self, name: str, answer: Answerer) -> None:
        super().__init__()
        self._name, self._answer = name, answer
        self.answer_ids: dict[str, Any] = {}
        self.over_context: set[str] = set()

    @property
    def tokenizer_name(self) -> str:
        """Names the chat template in lm-eval's logs."""
        return self._name

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Said in lm-eval's logs; the engine knows the template itself."""
        return "rendered by the engine"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text that comes back to this object. The last message may begin the answer."""
        return ChatText(json.dumps(chat_history, ensure_ascii=False))

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generated texts. A prompt that does not fit the model's context gives an empty one, and a warning."""
        asked = [_generation(*instance.args[:2]) for instance in requests]
        found = []
        for instance, answered in zip(requests, self._answer(asked), strict=True):
            if answered.answer is None:
                found.append(self._lost(instance, answered, ""))
                continue
            self.answer_ids.setdefault(str(instance.args[0]), answered.answer.id)
            found.append(answered.answer.text or "")
        return found

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, greedy) of each continuation. Continuations of one context are scored together."""
        contexts: dict[tuple[bool, str], list[int]] = {}
        for place, instance in enumerate(requests):
            context = instance.args[0]
            contexts.setdefault((isinstance(context, ChatText), str(context)), []).append(place)
        asked = []
        for places in contexts.values():
            texts = tuple(dict.fromkeys(str(requests[place].args[1]) for place in places))
            asked.append(_score(requests[places[0]].args[0], texts))
        found: list[tuple[float, bool]] = [(float("-inf"), False)] * len(requests)
        for places, ask, answered in zip(contexts.values(), asked, self._answer(asked), strict=True):
            if answered.answer is None:
                self._lost(requests[places[0]], answered, "")
                continue
            self.answer_ids.setdefault(str(requests[places[0]].args[0]), answered.answer.id)
            scores = dict(zip(ask.continuations, answered.answer.choices or (), strict=True))
            for place in places:
                logprob, _, greedy = scores[str(requests[place].args[1])]
                found[place] = (logprob, greedy)
        return found

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probabilities of whole texts. Raises SuiteError for a text that is longer than the model's context: no
        engine of ours cuts one into windows."""
        asked = [ScoreRequest(text="", continuations=(str(instance.args[0]),)) for instance in requests]
        found = []
        for instance, answered in zip(requests, self._answer(asked), strict=True):
            if answered.answer is None or not answered.answer.choices:
                raise SuiteError(
                    f"{self._name}: a text of {len(instance.args[0]):,} characters does not fit the model's context; "
                    f"perplexity of longer texts is not supported ({answered.error})"
                ) from answered.error
            found.append(answered.answer.choices[0][0])
        return found

    def _lost(self, instance: Instance, answered: Answered, instead: str) -> str:
        if not isinstance(answered.error, OverContext):
            assert answered.error is not None
            raise answered.error
        log.warning("%s: %s: counted as not solved", self._name, answered.error)
        self.over_context.add(str(instance.args[0]))
        return instead


def _score(context: str, continuations: tuple[str, ...]) -> ScoreRequest:
    if not isinstance(context, ChatText):
        return ScoreRequest(text=context, continuations=continuations)
    conversation = context.conversation()
    if conversation.messages[-1].role == "assistant":
        raise SuiteError(
            "this task begins the answer (gen_prefix) and scores its continuation: that is not possible in a chat. "
            "Run it with --no-chat-template"
        )
    return ScoreRequest(conversation=conversation, continuations=continuations)


def _generation(context: str, arguments: dict[str, Any]) -> GenerationRequest:
    arguments = dict(arguments)
    until = arguments.pop("until", ()) or ()
    lengths = [arguments.pop(key) for key in _LENGTHS if key in arguments]
    sampling: dict[str, Any] = {
        key: arguments.pop(key) for key in _SAMPLING if arguments.get(key) is not None
    }
    if not arguments.pop("do_sample", float(sampling.get("temperature", 0)) > 0):
        sampling = {"temperature": 0}
    for key, value in _OF_BEAMS.items():
        if arguments.pop(key, value) != value:
            raise SuiteError(f"generation_kwargs: {key} is not supported; engines decode one beam")
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if arguments:
        raise SuiteError(f"generation_kwargs: {', '.join(arguments)} is not supported")
    fields: dict[str, Any] = {
        "sampling": Sampling(**sampling, max_tokens=int(lengths[0]) if lengths else MAX_TOKENS),
        "stop": (until,) if isinstance(until, str) else tuple(text for text in until if text),
    }
    if not isinstance(context, ChatText):
        return GenerationRequest(text=context, **fields)
    conversation = context.conversation()
    last = conversation.messages[-1]
    if last.role == "assistant":
        fields["prefill"] = last.content
        conversation = Conversation(messages=conversation.messages[:-1])
    return GenerationRequest(conversation=conversation, **fields)
