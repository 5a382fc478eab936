"""From `start` messages to text: rendering, decoding, parsing. Runs in worker processes only."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Ids
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arena.engines.base import FinishReason, Sampling, Token, TokenLogprob
from arena.engines.local_adapters import CannotAttach
from arena.engines.local_decode import Decoder, Sequence, Step
from arena.engines.local_embed import EmbeddingJob, embed_batch, embedding_job
from arena.engines.local_model import LoadedModel, free_memory
from arena.engines.local_prompt import CannotRender, Rendered, encode_text, given_ids, render
from arena.engines.local_sampling import TokenSampler, effective
from arena.engines.local_score import DoesNotFit, ScoringJob, score_batch, scoring_job
from arena.engines.memory import in_words
from arena.engines.protocol import (
    Delta,
    EmbedMany,
    Ended,
    FromWorker,
    Refused,
    Scored,
    ScoreMany,
    Start,
    Started,
)
from arena.engines.text_stream import TextDecoder
from prompt_formats import OverBudget, ResponseParser

log = logging.getLogger("arena.worker")

LONG_ANSWER_SHARE = 0.8
"""Of the free memory; what one answer that is longer than planned may take."""


class _Refuse(Exception):
    def __init__(self, kind: Any, message: str) -> None:
        super().__init__(message)
        self.refused = {"kind": kind, "message": message}


@dataclass
class _Answer:
    sequence: Sequence
    decoder: TextDecoder
    parser: ResponseParser
    tokens: bool = False


class Answers:
    """The answers in the making on one model. Call `step` while `busy`; messages go to `send`."""

    def __init__(
        self, loaded: LoadedModel, versions: dict[str, str], send: Callable[[FromWorker], None]
    ) -> None:
        self._loaded = loaded
        self._versions = versions
        self._send = send
        self._decoder = self._new_decoder()
        self._answers: dict[int, _Answer] = {}
        self._scoring: deque[ScoringJob | EmbeddingJob] = deque()

    def _new_decoder(self) -> Any:
        return (self._loaded.decoder or Decoder)(self._loaded)

    @property
    def busy(self) -> bool:
        """Whether there is anything to generate or to score."""
        return self._decoder.busy or bool(self._scoring)

    def use_threads(self, count: int) -> None:
        """Compute with this many threads from now on."""
        torch.set_num_threads(count)

    def start(self, message: Start) -> None:
        """Render the prompt, check that it fits, and queue the answer."""
        try:
            self._begin(message)
        except _Refuse as refuse:
            self._send(Refused(id=message.id, **refuse.refused))
        except Exception as error:  # one request that breaks a library must not end the others' answers
            log.exception("request %d cannot be started", message.id)
            self._send(
                Refused(id=message.id, kind="error", message=f"{type(error).__name__}: {str(error)[:300]}")
            )

    def score(self, message: ScoreMany | EmbedMany) -> None:
        """Encode the contexts and continuations (or the texts to embed), check that they fit, and queue them."""
        if self._loaded.decoder is not None:
            told = "ct2-int8 only answers: use another quantisation of this model for scores and embeddings"
            self._send(Refused(id=message.id, kind="rejected", message=told))
            return
        try:
            job = (
                embedding_job(self._loaded, message)
                if isinstance(message, EmbedMany)
                else scoring_job(self._loaded, message)
            )
        except (CannotRender, CannotAttach) as error:
            self._send(Refused(id=message.id, kind="rejected", message=str(error)))
        except (DoesNotFit, OverBudget) as error:
            self._send(Refused(id=message.id, kind="over_context", message=str(error)))
        except Exception as error:  # as in `start`
            log.exception("scoring %d cannot be started", message.id)
            self._send(
                Refused(id=message.id, kind="error", message=f"{type(error).__name__}: {str(error)[:300]}")
            )
        else:
            self._scoring.append(job)
            self._forget_adapters()

    def cancel(self, identity: int) -> None:
        """Stop generating; what had been generated stays sent."""
        self._scoring = deque(job for job in self._scoring if job.id != identity)
        answer = self._answers.get(identity)
        if answer is not None:
            self._decoder.cancel(answer.sequence)
            self._end(answer, "cancelled")

    def step(self) -> None:
        """One token for every running answer, and one batch of the scoring that waits longest."""
        try:
            if self._scoring:
                self._score_one_batch(self._scoring[0])
            for step in self._decoder.step():
                self._one_token(self._answers[step.sequence.id], step)
        except (torch.OutOfMemoryError, MemoryError):
            log.exception("out of memory while decoding")
            self._give_up("the machine has no memory left for these answers: shorten them, or ask for fewer")

    def _score_one_batch(self, job: ScoringJob | EmbeddingJob) -> None:
        if isinstance(job, EmbeddingJob):
            embed_batch(self._loaded, job)
        else:
            score_batch(self._loaded, job)
        if job.done:
            self._scoring.popleft()
            self._send(
                job.result() if isinstance(job, EmbeddingJob) else Scored(id=job.id, scores=job.scores())
            )

    def _begin(self, message: Start) -> None:
        adapter = self._attached(message.adapter)
        rendered = self._rendered(message)
        prompt, context = len(rendered.ids), self._loaded.context_length
        room = context - prompt
        asked = message.sampling.max_tokens
        if room < 1 or (asked is not None and asked > room):
            wanted = f" and {asked:,} for the answer make {prompt + asked:,}" if asked else ""
            raise _Refuse(
                "over_context",
                f"the prompt's {prompt:,} tokens{wanted}; the model's context holds {context:,} tokens. "
                "Shorten the conversation or ask for fewer tokens.",
            )
        sampling = effective(message.sampling, self._loaded.model.generation_config, room)
        self._refuse_what_the_decoder_cannot(sampling, message.logprobs)
        sequence = Sequence(
            id=message.id,
            ids=rendered.ids,
            sampler=TokenSampler(sampling, message.seed),
            max_tokens=sampling.max_tokens or room,
            adapter=adapter,
            logprobs=message.logprobs,
            stop_ids=rendered.stop_ids,
        )
        self._refuse_without_memory(sequence.longest)
        tokenizer = self._loaded.tokenizer
        self._answers[message.id] = _Answer(
            sequence=sequence,
            decoder=TextDecoder(self._decode_all if rendered.marks_are_tokens else self._decode),
            parser=rendered.parser(message.stop),
            tokens=message.tokens,
        )
        stop_ids = self._loaded.stop_ids | rendered.stop_ids
        stop_tokens = [tokenizer.convert_ids_to_tokens(i) for i in sorted(stop_ids)]
        self._send(
            Started(
                id=message.id,
                rendered_prompt=rendered.text,
                prompt_tokens=prompt,
                tokens=self._tokens(rendered.ids) if message.tokens else None,
                sampling=sampling,
                log={
                    **rendered.log,
                    "prompt_tokens": prompt,
                    "stop_tokens": stop_tokens,
                    "stop_strings": [*rendered.stop_strings, *message.stop],
                    # CTranslate2 draws from generators of its own.
                    "seed": message.seed if self._loaded.decoder is None else None,
                    "device": self._loaded.device.type,
                    "dtype": str(self._loaded.dtype).removeprefix("torch."),
                    "versions": {**rendered.log.get("versions", {}), **self._versions},
                },
            )
        )
        self._decoder.add(sequence)

    def _refuse_what_the_decoder_cannot(self, sampling: Sampling, logprobs: int | None) -> None:
        if self._loaded.decoder is None:
            return
        from arena.engines.local_ct2 import refusal  # it may not be installed

        if (reason := refusal(sampling, logprobs)) is not None:
            raise _Refuse("rejected", reason)

    def _refuse_without_memory(self, tokens: int) -> None:
        """Refuse what is longer than memory was set aside for, unless there is enough all the same."""
        if tokens <= self._loaded.cache_tokens:
            return
        need, free = tokens * self._loaded.token_bytes, free_memory(self._loaded.device)
        if need > LONG_ANSWER_SHARE * free:
            raise _Refuse(
                "over_context",
                f"prompt and answer of up to {tokens:,} tokens need {in_words(need)} of memory for their keys and "
                f"values, and {in_words(free)} are free. Shorten the conversation or ask for fewer tokens.",
            )

    def _attached(self, path: Path | None) -> str | None:
        if path is None:
            return None
        try:
            name = self._loaded.adapters.attach(path)
        except CannotAttach as error:
            raise _Refuse("rejected", str(error)) from error
        self._forget_adapters(name)
        return name

    def detach(self, adapter: Path) -> None:
        """Free what an adapter takes, unless answers use it."""
        self._loaded.adapters.detach(adapter, self._adapters_in_use())

    def _adapters_in_use(self) -> set[str]:
        answering = (answer.sequence.adapter for answer in self._answers.values())
        scoring = (job.adapter for job in self._scoring)
        return {name for name in (*answering, *scoring) if name}

    def _forget_adapters(self, *used: str | None) -> None:
        self._loaded.adapters.forget_unused(self._adapters_in_use() | {name for name in used if name})

    def _rendered(self, message: Start) -> Rendered:
        tokenizer = self._loaded.tokenizer
        if message.conversation is not None:
            try:
                rendered = render(
                    tokenizer, message.conversation, message.prompting, message.adapter, message.prefill
                )
            except CannotRender as error:
                raise _Refuse("rejected", str(error)) from error
            except OverBudget as error:
                raise _Refuse("over_context", str(error)) from error
        elif message.ids is not None:
            try:
                rendered = given_ids(tokenizer, message.ids)
            except CannotRender as error:
                raise _Refuse("rejected", str(error)) from error
        else:
            rendered = encode_text(tokenizer, (message.text or "") + (message.prefill or ""))
        if not rendered.ids:
            raise _Refuse("rejected", "the prompt is empty: there is nothing to continue")
        return rendered

    def _decode(self, ids: Ids[int]) -> str:
        text: str = self._loaded.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _decode_all(self, ids: Ids[int]) -> str:
        text: str = self._loaded.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _one_token(self, answer: _Answer, step: Step) -> None:
        end, sequence = step.end, answer.sequence
        parser = answer.parser
        said = [parser.feed("" if end == "stop" else answer.decoder.add(step.token))]
        if end is not None and not parser.stopped:
            said += [parser.feed(answer.decoder.finish()), parser.rest()]
        text = "".join(delta.content for delta in said)
        thinking = "".join(delta.thinking for delta in said)
        logprobs = self._logprobs(step) if step.logprob is not None and end != "stop" else ()
        if text or thinking or logprobs:
            self._send(
                Delta(
                    id=sequence.id,
                    text=text,
                    thinking=thinking,
                    tokens=sequence.generated,
                    logprobs=logprobs,
                )
            )
        if parser.stopped:
            sequence.finished = True
            self._end(answer, "stop")
        elif end is not None:
            self._end(answer, end)

    def _logprobs(self, step: Step) -> tuple[TokenLogprob, ...]:
        assert step.logprob is not None
        top = tuple((self._decode([token]), logprob) for token, logprob in step.top)
        text = self._decode([step.token])
        return (TokenLogprob(token=text, token_id=step.token, logprob=step.logprob, top=top),)

    def _tokens(self, ids: Ids[int]) -> tuple[Token, ...]:
        special = set(self._loaded.tokenizer.all_special_ids)
        return tuple(Token(id=i, text=self._decode_all([i]), special=i in special) for i in ids)

    def _end(self, answer: _Answer, reason: FinishReason) -> None:
        sequence = answer.sequence
        del self._answers[sequence.id]
        ids = sequence.ids[sequence.prompt_length :]
        self._send(
            Ended(
                id=sequence.id,
                finish_reason=reason,
                completion_tokens=sequence.generated,
                tokens=self._tokens(ids) if answer.tokens else None,
                raw=self._decode_all(ids) if answer.tokens else None,
            )
        )

    def _give_up(self, message: str) -> None:
        for identity in self._answers:
            self._send(Refused(id=identity, kind="unavailable", message=message))
        for job in self._scoring:
            self._send(Refused(id=job.id, kind="unavailable", message=message))
        self._scoring.clear()
        self._answers.clear()
        self._decoder = self._new_decoder()
