"""The rules for a model's real answers: PB301 on. `proof.checks.live` judges by them."""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of

__all__ = ["LIVE_RULES"]

LIVE_FAILS = Rule(
    code="PB301",
    name="live-fails",
    severity=Severity.ERROR,
    summary="A generation ended in an error.",
    why="The model can't be run as the entry says.",
    prevents="A run of thousands of dialogues, all of them errors.",
    mend="The message is the engine's own.",
)
PROMPT_LEAK = Rule(
    code="PB302",
    name="prompt-leak",
    severity=Severity.ERROR,
    summary="An answer contains the prompt.",
    why="The model's own words can't be told from those it was given.",
    prevents="Prompts searched for in outputs and not found, since decoding had changed a space.",
    mend="Take it up with whoever wrote the engine: the output must be the new ids alone.",
)
EOS_LEAK = Rule(
    code="PB303",
    name="eos-leak",
    severity=Severity.ERROR,
    summary="An answer still contains an end token or a special token.",
    why="It goes into the dialogue as if the model had said it, and every parser of answers trips over it.",
    prevents="gemma-2-9b-it in clembench 1.6: `<end_of_turn>` at the end of every answer, and in the dialogues.",
    mend="Name the token in `eos_to_cull`.",
)
NEVER_STOPS = Rule(
    code="PB304",
    name="never-stops",
    severity=Severity.WARNING,
    summary="No answer ended by itself.",
    why="Each costs as much as it may, and what follows the answer is noise.",
    prevents="vllm-project/vllm#4180: Llama 3 that never stopped, since `<|eot_id|>` was in no list.",
    mend="Look at the end of the answer for the token that the model ends with, and name it in `eos_to_cull`.",
)
ALL_EMPTY = Rule(
    code="PB305",
    name="empty-answer",
    severity=Severity.WARNING,
    summary="An answer to a plain question is empty.",
    why="An empty answer is counted as a bad move, and nobody asks why.",
    prevents="deepseek-r1 in clembench 2.0: empty contents, scored as the model's answers.",
    mend="Look at `raw` in the message; a model that thinks needs `cot_end_tag` and room for its thinking.",
)
NOT_REPEATABLE = Rule(
    code="PB306",
    name="not-repeatable",
    severity=Severity.WARNING,
    summary="The same prompt, greedy and alone, got two different answers.",
    why="A score can't be reproduced even with the same settings.",
    prevents="Sampling settings of a model's repository that made 'temperature 0' a sampler.",
    mend="Look for sampling settings in the entry; `dtype: float32` and one thread rule out rounding.",
)
IDS_DIFFER = Rule(
    code="PB307",
    name="ids-differ",
    severity=Severity.ERROR,
    summary="The ids that were sent are not those of the rendered prompt.",
    why="What `playbill prompt` shows is not what the model gets.",
    prevents="Engines that put a BOS in front of a prompt by themselves.",
    mend="Take it up with whoever wrote the engine.",
)
BATCH_DIFFERS = Rule(
    code="PB308",
    name="batch-differs",
    severity=Severity.NOTE,
    summary="Some answers differ between one at a time and all at once.",
    why="Rounding depends on what is computed together; in bfloat16 that is normal; it bounds what can be compared.",
    prevents="huggingface/transformers#25921: differences by batch size, taken for differences between models.",
    mend="Nothing, or `dtype: float32`.",
)

NOT_LISTED = Rule(
    code="PB309",
    name="not-listed",
    severity=Severity.WARNING,
    summary="The service's own list of models doesn't have the model, though it answered.",
    why="What isn't listed may be an alias, a model that is being withdrawn, or another one that answers in its place.",
    prevents="Results under a name that nobody can ask for a month later.",
    mend="Name one of the listed models; the message has those with near names.",
)
LISTED_END = Rule(
    code="PB310",
    name="listed-end",
    severity=Severity.WARNING,
    summary="The service's own list says that the model ends, or has ended.",
    why="After that date nobody can repeat the run, and a run that lasts longer breaks off.",
    prevents="A comparison whose second half answers with 404.",
    mend="Take the successor that the service names; run before the date what must be run.",
)
DEFAULT_REFUSED = Rule(
    code="PB311",
    name="default-refused",
    severity=Severity.WARNING,
    summary="The service refuses a parameter that Playbill sends unasked; the answer came without it.",
    why="Each run finds that out anew, by a request of its own, and its answers may be samples instead of greedy ones.",
    prevents="Answers that are compared as greedy ones, and aren't.",
    mend="Write the parameter into `refuses`, as the message shows.",
)
CONTEXT_TOLD = Rule(
    code="PB312",
    name="context-told",
    severity=Severity.NOTE,
    summary="How long the context is, as the service tells.",
    why="A longer dialogue is refused by most services, and cut without a word by some.",
    prevents="Ollama with 4,096 tokens: the beginning of each long dialogue was cut, and nobody was told.",
    mend="Compare it with the longest dialogue; at Ollama set OLLAMA_CONTEXT_LENGTH where the server starts.",
)
SELF_TEST_FAILS = Rule(
    code="PB313",
    name="self-test-fails",
    severity=Severity.WARNING,
    summary="On load, a row had other bits beside other rows: answers may depend on what is computed with them.",
    why="A score changes with the batch, with the order of the dialogues and with an interruption.",
    prevents="vllm-project/vllm#57016: one scale for all rows, by which a neighbour's outlier changes an answer.",
    mend='`"batching": "single"` where answers must not depend on others; see the page on batch invariance.',
)

LIVE_RULES = table_of(
    (
        *(LIVE_FAILS, PROMPT_LEAK, EOS_LEAK, NEVER_STOPS, ALL_EMPTY, NOT_REPEATABLE, IDS_DIFFER, BATCH_DIFFERS),
        *(NOT_LISTED, LISTED_END, DEFAULT_REFUSED, CONTEXT_TOLD, SELF_TEST_FAILS),
    )
)
"""Rules of live answers by code."""
