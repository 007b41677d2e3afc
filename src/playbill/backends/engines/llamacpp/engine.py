"""The engine llamacpp: token ids in and out, with many requests at once in one model's slots.

An answer comes in one piece unless somebody watches it, or it may end at a token that llama.cpp doesn't stop at;
then it is streamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from playbill.backends.answer.thinking_budget import Budget, TokenLimits
from playbill.backends.engines.base import Completion, OnText, Request
from playbill.backends.engines.llamacpp.exact.kernels import Kernels
from playbill.backends.engines.llamacpp.exact.prefix_cache import PrefixCache
from playbill.backends.engines.llamacpp.exact.slots import Lease, Slots
from playbill.backends.engines.llamacpp.exact.stream_ids import StreamedIds
from playbill.backends.engines.llamacpp.memory_plan import MemoryPlan
from playbill.backends.engines.llamacpp.sampling import SUPPORTED_PARAMETERS, effective_parameters, sampling_body
from playbill.backends.engines.llamacpp.server import Cancelled, LlamaServer, xllamacpp
from playbill.backends.engines.llamacpp.tokenizer import GgufTokenizer
from playbill.backends.engines.llamacpp.vision.pixels import PixelBudget
from playbill.backends.engines.llamacpp.vision.prompt import PICTURE_PROMPT, PicturePrompt
from playbill.backends.engines.llamacpp.vocabulary import incomplete
from playbill.backends.engines.threads import Threads, WorkFuture
from playbill.backends.errors import EngineError
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.weights.cache import file_sha256
from playbill.backends.weights.gguf import Weights

__all__ = ["LlamaCpp"]

StopWanted = Callable[[], bool]
_ROUTE = "/completion"
_HANG_UP_SECONDS = 10.0
_MOST_TOKENS_OF_A_CHARACTER = 4
_END = 8
_STREAMING = {"stream": True, "return_progress": True}


class LlamaCpp:
    """The engine over a loaded ``server``. ``ending`` are the tokens at which llama.cpp ends by itself."""

    supported_parameters = SUPPORTED_PARAMETERS

    def __init__(
        self,
        server: LlamaServer,
        tokenizer: GgufTokenizer,
        plan: MemoryPlan,
        weights: Weights,
        gpu_layers: int,
        kernels: Kernels,
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        self.server = server
        self._tokenizer = tokenizer
        self._plan = plan
        self._weights = weights
        self._gpu_layers = gpu_layers
        self._kernels = kernels
        self._ending = frozenset(tokenizer.ending_ids())
        self._slots = Slots(plan.slots)
        self._prefix_cache = prefix_cache
        self._pixels = PixelBudget()
        self.concurrency = plan.concurrency
        self._threads = Threads(self._complete, plan.slots, "llamacpp")

    def submit(self, request: Request, on_text: OnText | None = None) -> WorkFuture:
        if request.prompt_ids is None:
            raise EngineError("llama.cpp completes token ids, and the request has none")
        return self._threads.submit(request, on_text)

    def close(self) -> None:
        self._threads.close()
        # The binding ends its server without letting Python run: threads that still have to hang up never could,
        # and it would wait for them for ever.
        self._threads.join(_HANG_UP_SECONDS)
        self.server.close()

    def facts(self) -> Mapping[str, Any]:
        return {
            "xllamacpp": xllamacpp.__version__,
            "weights": [{"file": file.name, "sha256": file_sha256(file)} for file in self._weights.all_files],
            "revision": self._weights.revision,
            "threads": self._plan.threads,
            "slots": self._plan.slots,
            "n_ctx": self._plan.n_ctx,
            "gpu_layers": self._gpu_layers,
            "kernels": asdict(self._kernels),
        }

    def _complete(self, request: Request, on_text: OnText | None, stop_wanted: StopWanted) -> Completion:
        pictured: PicturePrompt | None = request.features.get(PICTURE_PROMPT)
        if pictured is None:
            return self._completed(request, None, on_text, stop_wanted)
        try:
            with self._pixels.hold(pictured.pixels, stop_wanted):
                return self._completed(request, pictured, on_text, stop_wanted)
        except Cancelled as e:
            raise EngineError("cancelled") from e

    def _completed(
        self, request: Request, pictured: PicturePrompt | None, on_text: OnText | None, stop_wanted: StopWanted
    ) -> Completion:
        effective = effective_parameters(request.params)
        most = int(effective["max_tokens"])
        limits = request.limits or TokenLimits(most, 0, most)
        budget = Budget(limits, request.tags, self._tokenizer.decode) if request.tags is not None else None
        stops = self._stop_texts(request.stop_ids)
        prompt = list(request.prompt_ids or ())
        key = prompt if pictured is None else pictured.key
        lease = self._slots.take(key)
        body = {
            **sampling_body(effective, len(prompt), limits.total),
            "prompt": prompt if pictured is None else pictured.body(),
            "stop": [*request.stop_strings, *stops.texts],
            "preserved_tokens": stops.texts,
            "cache_prompt": True,
            "return_tokens": True,
            "id_slot": lease.asked,
        }
        answer, computed = None, 0
        try:
            computed = self._prepare_slot(lease, prompt, pictured, stop_wanted)
            if on_text is None and not stops.watched and budget is None:
                answer = self._whole(body, stop_wanted)
            else:
                answer = self._streamed(body, stops.watched, budget, on_text, stop_wanted)
        except Cancelled as e:
            raise EngineError("cancelled") from e
        finally:
            self._slots.give_back(lease, key, _slot_of(answer, lease))
        if pictured is not None:
            pictured.refuse_other(answer.evaluated, answer.prompt)
        if computed and answer.cached:
            answer = replace(answer, cached=answer.cached - computed)
        return self._completion(answer, request, effective, budget)

    def _prepare_slot(
        self, lease: Lease, prompt: list[int], pictured: PicturePrompt | None, stop_wanted: StopWanted
    ) -> int:
        """Have the slot hold as much of a prompt as helps; returns how many tokens were computed for it.

        Of a prompt that it holds whole, llama.cpp would compute the last token alone, which gives other bits than
        in company, and so perhaps another answer: it is made to forget the end. What is shared are beginnings without
        pictures.
        """
        if lease.again:
            other = _other_end(prompt) if pictured is None else pictured.forgetting_end()
            asked = {"prompt": other, "n_predict": 0, "id_slot": lease.asked}
            self.server.post(_ROUTE, {**asked, "cache_prompt": True, "temperature": 0}, stop_wanted)
        elif lease.empty and self._prefix_cache is not None:
            text = prompt if pictured is None else pictured.before_pictures()
            return self._prefix_cache.fill(
                lease.asked, text, lambda path, body: self.server.post(path, body, stop_wanted)
            )
        return 0

    def _stop_texts(self, stop_ids: Iterable[int]) -> _Stops:
        """Return how to end at tokens at which llama.cpp doesn't by itself.

        A special token's text is looked for among the special tokens that are written out for it; an ordinary
        token's text might as well come from others, so those are watched for, one by one.
        """
        vocabulary = self._tokenizer.vocabulary
        others = [i for i in stop_ids if i not in self._ending]
        texts = [vocabulary.texts[i] for i in others if i in vocabulary.special]
        return _Stops(texts, frozenset(i for i in others if i not in vocabulary.special))

    def _whole(self, body: Mapping[str, Any], stop_wanted: StopWanted) -> _Answer:
        answer = self.server.post(_ROUTE, body, stop_wanted)
        return _Answer(
            tuple(answer["tokens"]),
            answer["stop_type"],
            answer["stopping_word"],
            answer["timings"]["cache_n"],
            slot=answer["id_slot"],
            truncated=answer["truncated"],
            probabilities=answer.get("completion_probabilities", ()),
            evaluated=answer["tokens_evaluated"],
            prompt=answer["prompt"],
        )

    def _streamed(
        self,
        body: Mapping[str, Any],
        watched: frozenset[int],
        budget: Budget | None,
        on_text: OnText | None,
        stop_wanted: StopWanted,
    ) -> _Answer:
        """Follow the stream to its end, a watched token, the end of a budget, or the first token beyond the limit.

        That one is asked for because an answer may be cut inside of a character, whose tokens the stream holds
        back until it is complete.
        """
        limit = body["n_predict"]
        streamed = StreamedIds(self._tokenizer.vocabulary, on_text)
        asked = {**body, **_STREAMING, "n_predict": limit + _MOST_TOKENS_OF_A_CHARACTER}
        with closing(self.server.stream(_ROUTE, asked, stop_wanted)) as events:
            for event in events:
                if "prompt_progress" in event:  # its tokens are none of the answer's
                    streamed.cached = event["prompt_progress"]["cache"]
                    continue
                if event["stop"] or event["tokens_predicted"] > limit:
                    return self._end_of_stream(event, streamed, limit)
                token = event["tokens"][0]
                spent = _spend(budget, token, event["tokens_predicted"] - streamed.counted)
                if spent is not None and token not in watched:
                    return self._end_of_stream(event, streamed, streamed.counted + spent.tokens, spent.reason)
                streamed.add(token, event["tokens_predicted"], event["content"], hidden=token in watched)
                streamed.probabilities += event.get("completion_probabilities", ())
                if token in watched:
                    return self._end_of_stream(event, streamed, limit)
        raise EngineError("llama.cpp's stream ended before the answer did")

    def _end_of_stream(
        self, event: Mapping[str, Any], streamed: StreamedIds, limit: int, reached: str | None = None
    ) -> _Answer:
        """Return the answer, whichever way it ended: the stream's last event, a watched token, or at or beyond a
        limit."""
        count, word, stop_type = event["tokens_predicted"], event.get("stopping_word", ""), event.get("stop_type", "id")
        if count > limit or reached is not None:
            if not event["stop"]:
                streamed.add(event["tokens"][0], count, event["content"], hidden=True)
            stop_type = "limit"
        restored = streamed.restore(count, word, self._tokenizer.encode)
        if count > limit:
            restored, word = restored.cut(limit), ""
        if stop_type in ("limit", "id"):
            streamed.show_rest(restored.ids[: -1 if stop_type == "id" else None])
        return _Answer(
            restored.ids,
            stop_type,
            word,
            streamed.cached,
            slot=event["id_slot"] if event["stop"] else None,
            truncated=event.get("truncated", False),
            uncertain=restored.uncertain,
            probabilities=streamed.probabilities,
            reached=reached,
            evaluated=event.get("tokens_evaluated"),
            prompt=event.get("prompt"),
        )

    def _completion(
        self, answer: _Answer, request: Request, effective: Mapping[str, Any], budget: Budget | None
    ) -> Completion:
        details: dict[str, Any] = {}
        if answer.truncated:
            details["context_full"] = True
        if answer.uncertain:
            details["uncertain_ids"] = answer.uncertain
        if effective.get("logprobs"):
            details["logprobs"] = self._logprobs(answer)
        own = answer.stop_type == "word" and answer.stopping_word in request.stop_strings
        return Completion(
            finish_reason=FinishReason.LENGTH if answer.stop_type == "limit" else FinishReason.STOP,
            finish_reason_raw=answer.reached or answer.stop_type,
            output_ids=answer.ids,
            stop_string=answer.stopping_word if own else None,
            usage=Usage(
                len(request.prompt_ids or ()), len(answer.ids), answer.cached, budget.thinking if budget else None
            ),
            effective={key: value for key, value in effective.items() if request.params.get(key) != value},
            details=details,
        )

    def _logprobs(self, answer: _Answer) -> list[dict[str, Any]]:
        """Return for each new token its log probability and the likeliest ones.

        llama.cpp reports none for a token that ends inside of a UTF-8 character: its place has None, and no others.
        """
        reported = iter(answer.probabilities)
        pieces, special = self._tokenizer.vocabulary.pieces, self._tokenizer.vocabulary.special
        text, found = b"", list[dict[str, Any]]()
        for token in answer.ids:
            text += b"" if token in special else pieces[token]
            each = None if incomplete(text) else next(reported, None)
            if each is not None and each["id"] == token:
                found.append(_logprob(each))
            else:
                found.append({"id": token, "logprob": None, "top": []})
        return found


@dataclass(frozen=True, slots=True)
class _Stops:
    texts: list[str]
    watched: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Answer:
    ids: tuple[int, ...]
    stop_type: str
    stopping_word: str
    cached: int | None
    slot: int | None = None
    truncated: bool = False
    uncertain: int = 0
    probabilities: Sequence[Any] = ()
    reached: str | None = None
    evaluated: int | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class _Spent:
    """The limit that was reached, and after how many of the tokens that just came."""

    reason: str
    tokens: int


def _spend(budget: Budget | None, token: int, tokens: int) -> _Spent | None:
    """Count the tokens that came, all but the last of which are parts of a character, and so of no tag."""
    for number in range(1, tokens + 1) if budget is not None else ():
        if budget is not None and (reason := budget.push(token)) is not None:
            return _Spent(reason, number)
    return None


def _other_end(prompt: list[int]) -> list[int]:
    """Return a prompt that begins as this one, but for its end."""
    return [*prompt[:-_END], *[0 if prompt[-_END:][0] else 1] * 2]


def _slot_of(answer: _Answer | None, lease: Lease) -> int | None:
    """Return where an answer's ids now lie; None where that is not known."""
    if answer is None:
        return None
    if answer.slot is not None:
        return answer.slot
    return lease.asked if lease.asked >= 0 else None


def _logprob(reported: Mapping[str, Any]) -> dict[str, Any]:
    top = [{"id": each["id"], "logprob": each["logprob"]} for each in reported["top_logprobs"]]
    return {"id": reported["id"], "logprob": reported["logprob"], "top": top}
