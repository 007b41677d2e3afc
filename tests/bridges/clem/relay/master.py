"""A game for tests: two players talk for some rounds about a word; the score depends on every character they say.

Runs in clemcore's environment, as any game does.
"""

from clemcore.clemgame import DialogueGameMaster, GameBenchmark, GameScorer, ParseError, Player
from clemcore.clemgame.metrics import BENCH_SCORE, METRIC_ABORTED, METRIC_LOSE, METRIC_SUCCESS


class Speaker(Player):
    def _custom_response(self, context):
        return f"I heard {len(context['content'])} characters."


class Relay(DialogueGameMaster):
    def _on_setup(self, **instance):
        self.rounds = instance["rounds"]
        self.breaks = instance.get("breaks", False)
        self.said = []
        self.first, self.second = (Speaker(model) for model in self.player_models)
        word = instance["word"]
        asked = {"role": "user", "content": f"Say something short about this word: {word}"}
        if picture := instance.get("picture"):
            asked["image"] = [picture]
        self.add_player(self.first, initial_context=asked)
        self.add_player(self.second, initial_prompt=f"Somebody talks to you about this word: {word}. Answer shortly.")

    def _parse_response(self, player, response):
        if not response.strip():
            raise ParseError("nothing was said", response)
        return response

    def _on_parse_error(self, error):
        self.state.abort()

    def _advance_game(self, player, parsed_response):
        self.said.append(parsed_response)
        if self.breaks and len(self.said) == 3:
            raise ZeroDivisionError("this instance breaks the game")
        if player is self.first:
            self.set_context_for(self.second, parsed_response)
        else:
            self.set_context_for(self.first, parsed_response)
            if self.current_round + 1 == self.rounds:
                self.state.succeed()

    def _on_after_game(self):
        aborted = self.state.outcome.value == "aborted"
        self.log_key(METRIC_ABORTED, int(aborted))
        self.log_key(METRIC_LOSE, 0)
        self.log_key(METRIC_SUCCESS, int(not aborted))
        self.log_key("said", self.said)


class RelayScorer(GameScorer):
    def __init__(self, experiment, game_instance):
        super().__init__("relay", experiment, game_instance)

    def compute_round_score(self, round_idx, round_events):
        self.log_round_score(round_idx, "Events", len(round_events))

    def compute_episode_scores(self, interactions):
        characters = "".join(interactions["said"])
        weighed = sum((i + 1) * ord(c) for i, c in enumerate(characters))
        self.log_episode_score(BENCH_SCORE, float("nan") if interactions[METRIC_ABORTED] else weighed % 101)


class RelayBenchmark(GameBenchmark):
    def create_game_master(self, experiment, player_models):
        return Relay(self.game_spec, experiment, player_models)

    def create_game_scorer(self, experiment, game_instance):
        return RelayScorer(experiment, game_instance)
