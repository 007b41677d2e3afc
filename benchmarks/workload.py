"""The work that all engine benchmarks share: 32 dialogues of four turns of a word-guessing game. Knows no engine.

About 230 tokens of instructions, then a clue a turn; what the player answers is fed back, as in a real game, so
each turn's prompt extends the last one's. Answers have at most 60 tokens and are greedy. In the uneven work
the player is asked for a story, which fills every limit, and the limits are far apart from turn to turn.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MAX_TOKENS", "MODEL", "dialogues", "uneven_limits"]

MODEL = "SmolLM2-135M-Instruct"
MAX_TOKENS = 60

_INSTRUCTIONS = """You are playing a collaborative word guessing game in which you have to guess a target word that \
another player describes to you.

You can make one guess at each trial. You win when you guess the target word. You lose when you cannot guess it in \
four trials. The other player is not allowed to use the target word, or any part of it, in a clue. After each trial \
you are told whether your guess was right; if it was not, you get another clue.

Read each clue with care, and think of all the clues that you were given before. Never repeat a guess that was \
wrong. A guess is one single English word: a common noun, in the singular, in lower case, without an article.

Begin your answer with "GUESS:" and the word, on a line of its own. On the next line write "REASON:" and explain in \
one or two sentences how the word fits to every clue, which other words you thought of, and why you left them out. \
Do not ask questions, do not talk about the rules, and do not describe the game. Do not add anything else to your \
answer.

Let us start.

"""

_LIMITS = (8, 60, 24, 40)
_STORY = " But do not guess yet: tell me a long story about it, in at least ten sentences."

_WORDS = (
    "lighthouse:tower harbour lamp coast|umbrella:rain handle cloth fold|bridge:river cross steel arch|"
    "candle:wax flame wick light|violin:strings bow wood music|anchor:ship iron chain sea|compass:north needle map "
    "direction|teapot:spout kettle cup hot|mirror:glass face reflection wall|ladder:rungs climb wood roof|"
    "pillow:sleep soft bed head|bicycle:wheels pedals chain road|clock:hands hours wall tick|garden:flowers soil "
    "fence plants|bottle:glass cork water neck|camera:lens picture film light|hammer:nail tool handle steel|"
    "island:sea sand palm water|jacket:sleeves zip warm pocket|kitchen:stove sink cook table|lantern:light glass "
    "camp night|mountain:high snow rock climb|needle:thread thin sew point|orchard:trees apples rows fruit|"
    "pencil:write wood lead sharp|quilt:blanket patches warm sew|rocket:space fuel launch fast|saddle:horse leather "
    "ride seat|telescope:stars lens tube far|village:houses small church country|window:glass frame view open|"
    "zipper:teeth jacket close metal"
)


def dialogues(number: int = 32, turns: int = 4, *, uneven: bool = False) -> list[dict[str, Any]]:
    """The dialogues as a run takes them: an id, and the user's text of each turn. At most 32, of four turns."""
    found = []
    for line in _WORDS.split("|")[:number]:
        word, _, hints = line.partition(":")
        first, *others = hints.split()[:turns]
        texts = [f"{_INSTRUCTIONS}CLUE: It has to do with this: {first}. What is your guess?"]
        texts += [f"That was wrong. CLUE: It also has to do with this: {hint}. What is your guess?" for hint in others]
        if uneven:
            texts[0] += _STORY
        found.append({"id": word, "turns": texts})
    return found


def uneven_limits(number: int = 32, turns: int = 4) -> list[list[int]]:
    """How long each answer may be in the uneven work: the same for each dialogue in all, at other turns."""
    return [[_LIMITS[(place + turn) % len(_LIMITS)] for turn in range(turns)] for place in range(number)]
