"""Read what a model's prompt path says that an entry needs: end tokens, thinking tags, split prefix, context."""

from __future__ import annotations

from playbill.backends.prompt.prompt_path import PromptPath
from playbill.proof.add.sources.proposal import Proposal
from playbill.proof.checks.probe import PLAIN, Probe
from playbill.proof.checks.thinking import thinking_of

__all__ = ["put_prompt_values"]

_DECLARED = frozenset({"tokenizer", "generation_config", "config", "gguf eos_token_id", "gguf eot_token_id"})


def put_prompt_values(proposal: Proposal, path: PromptPath, of: str) -> None:
    """Add what the prompt path shows; ``of`` names the model's files in origins."""
    probe = Probe(path.template.text, path.template.variables, path.date)
    _put_end(proposal, path)
    proposal.put("context_size", path.context_size, f"context length in {of}")
    thinking = thinking_of(probe)
    if thinking is not None and path.response is None:  # tags in the entry would take its place
        origin = f"the chat template writes {thinking.end_tag or 'it before an answer'}"
        proposal.put("cot_start_tag", thinking.start_tag, origin)
        proposal.put("cot_end_tag", thinking.end_tag, origin)
        proposal.put("output_split_prefix", thinking.prefix, origin)
    if not (probe.attempt(PLAIN).error or probe.attempt(_SYSTEM).text):
        proposal.put("system_role", "fold", "the chat template refuses a system message")


_SYSTEM = ({"role": "system", "content": "Be brief."}, *PLAIN)


def _put_end(proposal: Proposal, path: PromptPath) -> None:
    """The token that closes a turn first, then those that the model's files declare."""
    stops = sorted(path.stops.ids, key=lambda stop: "template" not in stop.sources)
    told = [stop for stop in stops if "template" in stop.sources or _DECLARED & set(stop.sources)]
    texts = list(dict.fromkeys(stop.text for stop in told))
    sources = list(dict.fromkeys(source for stop in told for source in stop.sources))
    if texts:
        proposal.replace("eos_to_cull", texts[0] if len(texts) == 1 else texts, f"says {', '.join(sources)}")
