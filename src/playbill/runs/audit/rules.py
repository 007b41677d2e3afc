"""The table of the rules for records: code, name, severity, words, and the function that judges.

The functions are in `prompt_rules`, `answer_rules`, `history_rules` and `run_rules`; the page of the docs is made from
this table.
"""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of
from playbill.runs.audit import answer_rules as answer
from playbill.runs.audit import history_rules as history
from playbill.runs.audit import prompt_rules as prompt
from playbill.runs.audit import run_rules as run
from playbill.runs.audit.judging import AuditRule, Judge

__all__ = ["AUDIT_RULES", "MISSING_RECORDS", "RECORD_RULES"]


def _error(code: str, name: str, judge: Judge, *, summary: str, why: str, prevents: str, mend: str) -> AuditRule:
    return AuditRule(Rule(code=code, name=name, severity=Severity.ERROR, summary=summary, why=why,
                          prevents=prevents, mend=mend), judge)  # fmt: skip


def _warning(code: str, name: str, judge: Judge, *, summary: str, why: str, prevents: str, mend: str) -> AuditRule:
    return AuditRule(Rule(code=code, name=name, severity=Severity.WARNING, summary=summary, why=why,
                          prevents=prevents, mend=mend), judge)  # fmt: skip


AUDIT_RULES = (
    _error(
        "PB401",
        "eos-leak",
        answer.eos_leak,
        summary="End tokens or other special tokens stand in the answer that was used.",
        why="They are no part of the answer: they break its parsing, and go into the next prompt as history.",
        prevents="published scores of a model whose every answer ended in `<end_of_turn><eos>`, which was fed back.",
        mend="name the end token in the entry's `eos_to_cull`; `playbill show NAME --full` lists the stop ids.",
    ),
    _error(
        "PB402",
        "prompt-leak",
        prompt.prompt_leak,
        summary="The prompt, or its end, stands in the answer.",
        why="What the caller wrote is judged as if the model had said it.",
        prevents="answers that began with the whole prompt, since it was removed by a search that found nothing.",
        mend="take the answer from the new token ids only, as every engine of Playbill does.",
    ),
    _error(
        "PB403",
        "double-bos",
        prompt.double_bos,
        summary="The prompt begins with two beginning-of-text tokens.",
        why="The model was trained with one; two lower the quality of its answers without any error.",
        prevents="chat templates that write a BOS, and tokenizers that add another.",
        mend="encode the rendered text without adding special tokens.",
    ),
    _error(
        "PB404",
        "no-generation-prompt",
        prompt.no_generation_prompt,
        summary="The prompt doesn't open a turn of the assistant.",
        why="The model goes on with the user's turn, or has to guess that it is its own.",
        prevents="models that answered with a further question, because nobody had told them that it was their turn.",
        mend="use a template that knows `add_generation_prompt`; `playbill check NAME` says whether it does.",
    ),
    _error(
        "PB405",
        "role-mismatch",
        prompt.role_mismatch,
        summary="The prompt has a turn that the messages don't have.",
        why="The model sees a conversation that never was: an injected turn, or one of another role.",
        prevents="turn headers inside answers that became real turns in the next prompt.",
        mend="clean special tokens out of messages, and check the template: `playbill prompt NAME FILE`.",
    ),
    _error(
        "PB406",
        "never-stops",
        answer.never_stops,
        summary="The model went on after its end: repeated end tokens, or a next turn of its own invention.",
        why="It ran to the limit, and what it made up after its answer was judged with it.",
        prevents="models whose turn end was not among the stop ids, and which played both sides of a dialogue.",
        mend="let the turn's end token stop the generation: name it in `eos_to_cull`.",
    ),
    _error(
        "PB407",
        "thinking-in-answer",
        answer.thinking_in_answer,
        summary="Thinking, or a tag of it, stands in the answer.",
        why="The answer is what follows the thinking; a parser that looks for its first line finds a thought.",
        prevents="reasoning models that lost games because their `<think>` was read as a move.",
        mend="set `cot_start_tag` and `cot_end_tag` in the entry.",
    ),
    _error(
        "PB408",
        "thinking-cut",
        answer.thinking_cut,
        summary="The generation ended inside the thinking, and that was taken as the answer.",
        why="The model never came to answer; its score says nothing of it.",
        prevents="a reasoning model's published answers that were the first 100 tokens of its thoughts.",
        mend="give thinking room of its own: `-p max_thinking_tokens=4000`.",
    ),
    _error(
        "PB409",
        "empty-content",
        answer.empty_content,
        summary="The answer is empty, though tokens were spent on it.",
        why="Something was generated and paid for, and got lost on the way: a loss that counts as a bad answer.",
        prevents='a service that returned `content: ""` after 113 tokens of reasoning, counted as an aborted game.',
        mend="look at the response body; a larger limit, or another provider, often helps.",
    ),
    _error(
        "PB410",
        "last-not-user",
        prompt.last_not_user,
        summary="The last message is the assistant's, and the model was to answer it.",
        why="The model is asked to answer itself: what the user said was sent under the wrong role, or not at all.",
        prevents="a service's client that sent every turn of the user as the model's own.",
        mend="send what the model is to answer as the user's message.",
    ),
    _error(
        "PB411",
        "error-record",
        history.error_record,
        summary="The record says that there is no answer, because of an error.",
        why="It counts as nothing: neither as an answer nor as a bad one, and the dialogue ended there.",
        prevents="a run that is called sound though part of its dialogues were never answered.",
        mend="run the same command again: it tries errors anew, and nothing else.",
    ),
    _error(
        "PB412",
        "missing-turn",
        history.missing_turn,
        summary="A turn of a dialogue has no record, and a later one has.",
        why="The later answer rests on one that nobody can look at.",
        prevents="files from which lines were lost, by an editor or a merge.",
        mend="run the same command again: it asks what is missing.",
    ),
    _warning(
        "PB451",
        "truncated",
        answer.truncated,
        summary="The generation reached the limit of tokens.",
        why="The end of the answer is missing, and with it perhaps what was asked for.",
        prevents="answers cut in the middle of a sentence, taken as complete.",
        mend="raise `max_tokens`, or ask for shorter answers.",
    ),
    _warning(
        "PB452",
        "refused",
        answer.refused,
        summary="The service or its filter refused to answer.",
        why="A refusal of the filter is no answer of the model.",
        prevents="content filters counted as bad moves.",
        mend="look at the input; report refusals apart from answers.",
    ),
    _warning(
        "PB453",
        "changed-history",
        history.changed_history,
        summary="The next prompt doesn't carry the answer as it was given.",
        why="The model is shown words that it didn't say, and goes on from them.",
        prevents="games that cut or lowered an answer before they put it into the history.",
        mend="keep answers as they were in the messages; if the change is meant, it may stay.",
    ),
    _warning(
        "PB454",
        "params-differ",
        run.params_differ,
        summary="Parameters in effect are not those asked for, or not those of the run's other calls.",
        why="Answers under different settings are compared as if they were of one.",
        prevents="`temperature: 0` that the service replaced by its default.",
        mend="compare `params.asked` with `params.effective` in the record; give each setting a label of its own.",
    ),
    _warning(
        "PB455",
        "drift",
        run.drift,
        summary="Serving model, fingerprint, template or weights changed within the run.",
        why="The records of one name come from more than one model.",
        prevents="an alias that pointed to another snapshot half-way through a benchmark.",
        mend="name the dated snapshot or revision in the entry, and run again what came before the change.",
    ),
    _warning(
        "PB456",
        "broken-character",
        answer.broken_character,
        summary="The answer ends in the middle of a character (U+FFFD).",
        why="It was cut off, or its bytes were read in pieces; what it said last is lost, and goes on as U+FFFD.",
        prevents="emoji and CJK characters at an answer's end that became a question mark in the next prompt.",
        mend="raise `max_tokens`; decode all the answer's tokens at once.",
    ),
    _warning(
        "PB457",
        "first-not-user",
        prompt.first_not_user,
        summary="The first message is the assistant's.",
        why="Many chat templates refuse that or leave it out, and many services answer with an error.",
        prevents="a service's client that sent every turn of the user as the model's own.",
        mend="let the dialogue begin with a user's message, if it isn't meant so.",
    ),
    _warning(
        "PB458",
        "leak-fed-back",
        history.leak_fed_back,
        summary="An answer with special tokens in it was sent back to the model in a later turn.",
        why="The model sees turns that end twice, or that never were, and its further answers rest on them.",
        prevents="published runs in which `<end_of_turn><eos>` was part of the history from the second turn on.",
        mend="mend the leak (PB401), and run these dialogues again.",
    ),
)
"""In the order of their codes: errors first."""

MISSING_RECORDS = Rule(
    code="PB413",
    name="missing-records",
    severity=Severity.ERROR,
    summary="Dialogues or turns that the run was to have are not in its records.",
    why="What is missing is in no score, and nobody sees it in a list of what is there.",
    prevents="a run that was interrupted, and is called sound.",
    mend="run the same command again: it goes on where it stopped.",
)
"""Judged once all records of a run are read, by what its manifest says."""

RECORD_RULES = table_of(sorted([*(row.rule for row in AUDIT_RULES), MISSING_RECORDS], key=lambda rule: rule.code))
"""The rules of records by code, as other tables of rules."""
