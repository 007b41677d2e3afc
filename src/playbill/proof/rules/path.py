"""The rules for the prompt path: PB201 on. `proof.checks.path` and `proof.checks.template` judge by them."""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of

__all__ = ["PATH_RULES"]

NO_TEMPLATE = Rule(
    code="PB201",
    name="no-template",
    severity=Severity.ERROR,
    summary="`premade_chat_template` is true, and the model comes without a chat template.",
    why="There is nothing to render a prompt with.",
    prevents="sgl-project/sglang#3385 and many like it: found out by the first request.",
    mend="Set `premade_chat_template` to false, and `custom_chat_template` to the right one.",
)
GENERIC_TEMPLATE = Rule(
    code="PB202",
    name="generic-template",
    severity=Severity.WARNING,
    summary="No chat template is given, so a generic one is used.",
    why="It is probably not what the model was trained on, and a model is only as good as its prompt.",
    prevents="Libraries that fall back to a default template in silence, and scores made with it.",
    mend="Set `custom_chat_template`, or `premade_chat_template` to true where the model brings one.",
)
SYSTEM_REFUSED = Rule(
    code="PB203",
    name="system-refused",
    severity=Severity.WARNING,
    summary="The template refuses a system message.",
    why="Every dialogue that begins with one ends before it has begun.",
    prevents="EleutherAI/lm-evaluation-harness#2109: 'System role not supported' in the middle of an evaluation.",
    mend='Set `"system_role": "fold"`, which puts it in front of the first user message.',
)
SYSTEM_DROPPED = Rule(
    code="PB204",
    name="system-dropped",
    severity=Severity.WARNING,
    summary="The template leaves a system message out without a word.",
    why="The model is judged on instructions that it never got.",
    prevents="Models scored as bad at following rules that their prompts didn't contain.",
    mend='Set `"system_role": "fold"`, which puts it in front of the first user message.',
)
ORDER_REFUSED = Rule(
    code="PB205",
    name="order-refused",
    severity=Severity.NOTE,
    summary="The template refuses an order of roles.",
    why="Dialogues of that order can't be played with this model as they are.",
    prevents="'Conversation roles must alternate user/assistant/…' in the middle of a run.",
    mend='Keep `"consecutive_roles": "merge"`, or let the user begin.',
)
NOT_A_SUFFIX = Rule(
    code="PB206",
    name="prompt-not-suffix",
    severity=Severity.NOTE,
    summary="The generation prompt changes what stands before it.",
    why="Whoever computes the conversation without it, for training or a cache, computes something else.",
    prevents="Training masks and caches that are off by the tokens that changed.",
    mend="Nothing to do here: the whole prompt is rendered each time.",
)
NO_GENERATION_PROMPT = Rule(
    code="PB207",
    name="no-generation-prompt",
    severity=Severity.WARNING,
    summary="The prompt lacks what the template writes before an assistant's answer.",
    why="The model goes on as the user, or writes the missing header itself, into its answer.",
    prevents="stanford-crfm/helm#3698: prompts without the assistant's header, and scrambled answers.",
    mend="Mend the template: `{% if add_generation_prompt %}` at its end writes what opens an assistant's turn.",
)
UNSTABLE = Rule(
    code="PB208",
    name="unstable-prompt",
    severity=Severity.ERROR,
    summary="The same messages render to different prompts.",
    why="No answer can be repeated.",
    prevents="Results that nobody can reproduce, the authors included.",
    mend="Take what is random out of the template.",
)
NOT_EXTENDED = Rule(
    code="PB209",
    name="not-extended",
    severity=Severity.NOTE,
    summary="The next turn's prompt doesn't begin with this turn's prompt and answer.",
    why="An engine can't reuse what it computed for the dialogue so far; each turn costs its whole length.",
    prevents="QwenLM/Qwen3#1826: each turn of a dialogue processed from scratch.",
    mend="Nothing to do: it costs time only.",
)
DOUBLE_BOS = Rule(
    code="PB210",
    name="double-bos",
    severity=Severity.ERROR,
    summary="The prompt begins with two BOS tokens.",
    why="The model never saw that in its training, and some answer much worse.",
    prevents="lang-uk/ukrainian-llm-leaderboard#5: published rows whose prompts had two.",
    mend="Take one out of the template; Playbill adds none.",
)
MISSING_BOS = Rule(
    code="PB211",
    name="missing-bos",
    severity=Severity.WARNING,
    summary="The model's tokenizer puts a BOS token in front of a text, and the template writes none.",
    why="Models that were trained with it can fall apart without it.",
    prevents="EleutherAI/lm-evaluation-harness#2676: one model, 0.26 without BOS and 0.85 with it.",
    mend="Begin the template with `{{ bos_token }}`, unless the model's own does without.",
)
TURN_NOT_CLOSED = Rule(
    code="PB212",
    name="turn-not-closed",
    severity=Severity.WARNING,
    summary="The template writes no stop token after an assistant's turn.",
    why="Nothing shows the model where an answer ends, and Playbill can't tell its stop token from the template.",
    prevents="Models that go on with the user's next turn.",
    mend="Write the model's end-of-turn token after an assistant's content, and name it in `eos_to_cull`.",
)
TURN_END_UNKNOWN = Rule(
    code="PB213",
    name="turn-end-unlisted",
    severity=Severity.WARNING,
    summary="The token that closes a turn is in no list of EOS tokens, neither the model's nor the entry's.",
    why="Other engines don't stop there; Playbill does, by the template alone.",
    prevents="vllm-project/vllm#4180: Llama 3 that never stopped, since `<|eot_id|>` was in no list.",
    mend="Name it in `eos_to_cull`, next to what stands there.",
)
NO_SINGLE_TOKEN = Rule(
    code="PB214",
    name="split-special",
    severity=Severity.NOTE,
    summary="A marker that the template writes is several tokens to this tokenizer.",
    why="It is text to the model, not a special token; a template of another model looks just like that.",
    prevents="A ChatML template with a model that never saw ChatML.",
    mend="If the model was not trained so, take the template from its authors.",
)
EOS_NO_TOKEN = Rule(
    code="PB215",
    name="eos-no-token",
    severity=Severity.WARNING,
    summary="A text in `eos_to_cull` is no single token to this tokenizer.",
    why="It stops a generation as text only; if it is a misspelt token, it never comes up.",
    prevents="`<|im_end|>` in the entry of a model whose end token is `<|eot_id|>`.",
    mend="Write the token's text as the tokenizer has it.",
)
EOS_MISMATCH = Rule(
    code="PB216",
    name="eos-mismatch",
    severity=Severity.WARNING,
    summary="`eos_to_cull` is not what the template writes after an answer.",
    why="What the model really ends with is not named in the entry, and other tools that read it leave it in answers.",
    prevents="gemma-2-9b-it in clembench 1.6: `<end_of_turn>` at the end of every answer, and in the dialogues.",
    mend="Write what the message says follows an answer.",
)
DATED = Rule(
    code="PB217",
    name="dated-prompt",
    severity=Severity.NOTE,
    summary="The prompt changes with the date.",
    why="The same run tomorrow sends other prompts.",
    prevents="sgl-project/sglang#3296: a wrong date in every system prompt.",
    mend="Set `date` in the entry to compare runs of different days; one run always keeps its date.",
)
CONTEXT_UNKNOWN = Rule(
    code="PB218",
    name="context-unstated",
    severity=Severity.WARNING,
    summary="Neither the entry nor the model states the context size.",
    why="A prompt that is too long is found out by the engine, or by nobody.",
    prevents="Dialogues whose beginning was cut off in silence.",
    mend="State `context_size` in the entry.",
)
CONTEXT_DISAGREES = Rule(
    code="PB219",
    name="context-overstated",
    severity=Severity.WARNING,
    summary="The entry states more context than the model's configuration.",
    why="The model was not made for it; the smaller number holds.",
    prevents="Long dialogues that turn to noise past the trained length.",
    mend="State the model's own context size, or change its configuration where it can be stretched.",
)
SLOW_IGNORED = Rule(
    code="PB220",
    name="slow-ignored",
    severity=Severity.WARNING,
    summary="The entry asks for the slow tokenizer, and a fast one is used.",
    why="For some models the two give different ids for the same text.",
    prevents="transformers 5 ignores `use_fast=False` without a word.",
    mend="Install sentencepiece, use a model folder with its `tokenizer.model`, or take the key out.",
)
SPLIT_PREFIX = Rule(
    code="PB221",
    name="needless-split",
    severity=Severity.NOTE,
    summary="`output_split_prefix` is what the prompt ends with.",
    why="It was needed where prompts were cut from the output by their text; here output has no prompt.",
    prevents="Answers that are cut in two because they happen to contain the text.",
    mend="Take it out.",
)
THINKING_UNSEPARATED = Rule(
    code="PB222",
    name="thinking-kept",
    severity=Severity.WARNING,
    summary="The model thinks before it answers, and the entry doesn't say where its answer begins.",
    why="What the model thinks is taken as its answer.",
    prevents="QwQ-32B in clembench 2.0: cut off in its thinking, which was then scored as the answer.",
    mend="Add the tags, or the `output_split_prefix`, that the message names.",
)
OWN_SYSTEM_PROMPT = Rule(
    code="PB223",
    name="own-system-prompt",
    severity=Severity.NOTE,
    summary="The template writes a system prompt of its own.",
    why="The model is told something that stands in no dialogue, and a model beside it is not.",
    prevents="Qwen2.5 compared 'without a system prompt', while its template called it a helpful assistant.",
    mend="Begin dialogues with a system message, which replaces it where the message says so; or keep it, knowingly.",
)
THINKS_WHEN_ASKED = Rule(
    code="PB224",
    name="thinks-when-asked",
    severity=Severity.NOTE,
    summary="The model can think before it answers, and nothing asks it to.",
    why="It answers at once, which is another model than the one that thinks.",
    prevents="DeepSeek-V3.1 ranked among models that think, while its template switches that off by default.",
    mend="Nothing, if that is meant; else set in `chat_template_kwargs` what the message names, with the tags.",
)
WEIGHTS_REFUSED = Rule(
    code="PB225",
    name="weights-refused",
    severity=Severity.ERROR,
    summary="The weights, as they lie here, can't be loaded.",
    why="Every load ends with this error; it shows before one, by the files' headers and sizes.",
    prevents="A night's run that ends at its second model, whose download had broken off.",
    mend="Download the files again, or take a version of the engine that knows the architecture.",
)
TOO_LARGE = Rule(
    code="PB240",
    name="too-large",
    severity=Severity.WARNING,
    summary="The model's weights, or one dialogue beside them, don't fit into the memory that is free here.",
    why="Loading ends with an error after the download, or the machine begins to swap.",
    prevents="A job of a night that ends in its first minute, after hours of waiting for a card.",
    mend="Run it where there is more memory, or take a quantized checkpoint. On a login node, ignore it.",
)
FEW_AT_ONCE = Rule(
    code="PB241",
    name="few-at-once",
    severity=Severity.NOTE,
    summary="There is room for fewer dialogues at once than are computed together.",
    why="The others wait until one ends, so a run takes longer than its batch size promises.",
    prevents="A night's job that computes three dialogues at a time where its author counts on thirty-two.",
    mend="Nothing, if time doesn't matter; else a smaller `max_tokens` or number format, or more memory.",
)
CONVERTED = Rule(
    code="PB242",
    name="numbers-converted",
    severity=Severity.WARNING,
    summary="The weights' numbers are computed in another format here than the one they are stored in.",
    why="Answers are other than where the format is kept, and weights may be several times as large.",
    prevents="An fp8 checkpoint that is quietly computed as bfloat16 on an A100, and twice as large as was planned.",
    mend="Run it on a card that computes the format, or say so where the answers are compared, and waive it.",
)
PATH_RULES = table_of(
    (
        NO_TEMPLATE,
        GENERIC_TEMPLATE,
        SYSTEM_REFUSED,
        SYSTEM_DROPPED,
        ORDER_REFUSED,
        NOT_A_SUFFIX,
        NO_GENERATION_PROMPT,
        UNSTABLE,
        NOT_EXTENDED,
        DOUBLE_BOS,
        MISSING_BOS,
        TURN_NOT_CLOSED,
        TURN_END_UNKNOWN,
        NO_SINGLE_TOKEN,
        EOS_NO_TOKEN,
        EOS_MISMATCH,
        DATED,
        CONTEXT_UNKNOWN,
        CONTEXT_DISAGREES,
        SLOW_IGNORED,
        SPLIT_PREFIX,
        THINKING_UNSEPARATED,
        OWN_SYSTEM_PROMPT,
        THINKS_WHEN_ASKED,
        WEIGHTS_REFUSED,
        TOO_LARGE,
        FEW_AT_ONCE,
        CONVERTED,
    )
)
"""Rules of the prompt path by code."""
