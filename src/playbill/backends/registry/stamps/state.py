"""Tell whether a stamp still belongs to what it judged, and in which points it doesn't. Opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from playbill.backends.registry.stamps.stamp import UNHASHED, Content, Depth, Stamp, key_digests

__all__ = ["StampState", "judge_stamp", "newest_state"]


@dataclass(frozen=True, slots=True)
class StampState:
    """A stamp, and why it is stale: nothing where it is not. ``unsure``: the weights' files weren't read to tell."""

    stamp: Stamp
    stale: tuple[str, ...] = ()
    unsure: bool = False

    @property
    def depth(self) -> Depth | None:
        """How deep the entry is proven as it is now; None where the stamp is stale."""
        return None if self.stale else self.stamp.depth

    def to_dict(self) -> dict[str, Any]:
        return {**self.stamp.to_dict(), "stale": list(self.stale)}

    def sentence(self) -> str:
        """Return what was proven, when and with what, and what is other by now, on one line."""
        stamp = self.stamp
        versions = ", ".join(f"{name} {version}" for name, version in stamp.versions.items())
        said = f"{stamp.depth.value} on {stamp.date} with {versions}"
        said += f", answers from {stamp.asked}" if stamp.asked else ""
        said += f", self-test {stamp.self_test}" if stamp.self_test else ""
        if stamp.against:
            said += ", against " + " and ".join(f"the {part} {name}" for part, name in stamp.against.items())
        if stamp.warnings:
            said += f", with warnings {', '.join(stamp.warnings)}"
        if stamp.waived:
            shown = (f"{w.get('rule')} (on {w.get('date')}: {w.get('reason')})" for w in stamp.waived)
            said += f", waived {', '.join(shown)}"
        return f"stale: {'; '.join(self.stale)}. It was proven {said}" if self.stale else f"proven {said}"


def judge_stamp(stamp: Stamp, entry: Mapping[str, Any], content: Content | None = None) -> StampState:
    """Compare a stamp with an entry as it is now, and with what is known of its files."""
    now = content or Content()
    stale = (*_other_keys(stamp, entry), *_other_content(stamp, now))
    return StampState(stamp, stale, unsure=_is_unsure(stamp, now))


def newest_state(
    stamps: Iterable[Stamp], entry: Mapping[str, Any], content: Content | None = None
) -> StampState | None:
    """Return the state of the deepest stamp that holds, or else of the newest; None where there is none. Of two alike
    the later counts: a user's own stands behind the packaged one."""
    states = [judge_stamp(stamp, entry, content) for stamp in stamps][::-1]
    holding = [state for state in states if not state.stale]
    if holding:
        return max(holding, key=lambda state: (state.stamp.depth.rank, state.stamp.date))
    return max(states, key=lambda state: state.stamp.date, default=None)


def _other_keys(stamp: Stamp, entry: Mapping[str, Any]) -> Iterator[str]:
    now = key_digests(entry)
    for name in dict.fromkeys([*stamp.entry, *now]):
        if name not in stamp.entry:
            yield f"'{name}' was not there"
        elif name not in now:
            yield f"'{name}' is gone"
        elif stamp.entry[name] != now[name]:
            yield f"'{name}' has changed"


def _other_content(stamp: Stamp, now: Content) -> Iterator[str]:
    then = stamp.content
    if then.weights and now.weights and then.weights != now.weights and not _is_unsure(stamp, now):
        what = "the repository has moved on" if now.weights.startswith("commit:") else "the weights have changed"
        yield f"{what} ({_short(then.weights)} then, {_short(now.weights)} now)"
    if then.template and now.template and then.template != now.template:
        yield "the chat template has changed"
    if then.tokenizer and now.tokenizer and then.tokenizer != now.tokenizer and "tokenizer" not in stamp.against:
        yield "the tokenizer gives other ids"


def _is_unsure(stamp: Stamp, now: Content) -> bool:
    return bool(stamp.content.weights) and now.weights == UNHASHED


def _short(identity: str) -> str:
    kind, _, digest = identity.partition(":")
    return f"{kind} {digest[:12]}"
