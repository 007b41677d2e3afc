"""A run from dialogues to records: what is sent, what is kept, what resuming does, and what is refused."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from playbill.backends import Outcome, load_model
from playbill.backends.common.secret import Secret
from playbill.backends.errors import InputError, ParameterError, RunError, UnknownModel
from playbill.backends.loading import model_from_function
from playbill.backends.model import Model
from playbill.runs import Silent, open_inputs, parse_model, run
from playbill.runs.folder.names import folder_name
from playbill.runs.folder.record import TurnId
from playbill.runs.seeds import derive_seed
from playbill.runs.selection import choose_models

pytestmark = pytest.mark.usefixtures("place")

GAME = [
    {"id": "a", "system": "Play.", "turns": ["Guess!", "Again!", "Last one!"]},
    {"id": 2, "turns": ["Guess!"]},
]
SCRIPT = {"model_name": "script", "backend": "programmatic", "answers": ["one", "two", "three"]}


def keys(result, label=None):
    return sorted((r["id"], r["turn"], r["sample"]) for r in result.records(label))


class Calls:
    """A function for `model_from_function` that keeps what it was asked."""

    def __init__(self, answer=lambda messages: "fine"):
        self.asked: list[list[dict]] = []
        self._answer = answer

    def __call__(self, messages):
        self.asked.append(list(messages))
        return self._answer(messages)


def test_each_turn_sends_all_that_was_said():
    """A later turn's record holds the whole history as it was sent, the model's own answers in it."""
    records = {(r["id"], r["turn"]): r for r in run(GAME, SCRIPT, out="r").records()}
    contents = [m["content"] for m in records["a", 2]["messages"]]
    assert contents == ["Play.", "Guess!", "one", "Again!", "two", "Last one!"]
    assert records["a", 2]["text"] == "three"
    assert records["2", 0]["model_name"] == records["2", 0]["label"] == "script"


def test_the_default_folder_is_found_again():
    """Without a folder, the same call goes on in the same one: named by the inputs and the labels."""
    Path("words.jsonl").write_text('{"id": 1, "turns": ["x"]}\n')
    first = run("words.jsonl", ["mock", ("cold", SCRIPT)])
    assert first.folder == Path("runs/words--mock+cold")
    assert run("words.jsonl", ["mock", ("cold", SCRIPT)]).models["cold"].new_records == 0


def test_a_second_start_asks_nothing_again():
    """What is recorded is not generated a second time, and stands once."""
    calls = Calls()
    first = run(GAME, model_from_function(calls), out="r")
    again = run(GAME, model_from_function(calls), out="r")
    assert len(calls.asked) == 4
    assert keys(first) == keys(again) == [("2", 0, 0), ("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]
    assert again.models["function"].records == 4


def test_a_run_goes_on_inside_a_dialogue():
    """A dialogue cut off between two turns goes on with the answers that are recorded."""
    result = run(GAME, SCRIPT, out="r")
    path = result.files["script"]
    lines = [x for x in path.read_text().splitlines(keepends=True) if json.loads(x)["id"] == "a"]
    path.write_text("".join(lines[:1]))
    resumed = run(GAME, SCRIPT, out="r")
    assert resumed.models["script"].new_records == 3
    (last,) = [r for r in resumed.records() if r["turn"] == 2]
    assert [m["content"] for m in last["messages"]] == ["Play.", "Guess!", "one", "Again!", "two", "Last one!"]


def test_errors_end_a_dialogue_and_are_tried_again():
    """A failed call ends its dialogue; the next start tries it again, replaces it, and goes on from there."""
    model = {**SCRIPT, "fail_every": 2}
    first = run(GAME[:1], model, out="r")
    assert [r["outcome"] for r in first.records()] == ["answered", "error"]
    assert not first.ok
    assert next(r for r in first.records() if r["turn"] == 1)["error"]["type"] == "EngineError"
    second = run(GAME[:1], model, out="r")
    assert [r["outcome"] for r in second.records()] == ["answered", "answered", "error"]
    third = run(GAME[:1], model, out="r")
    assert [(r["turn"], r["text"]) for r in third.records()] == [(0, "one"), (1, "two"), (2, "three")]
    assert third.ok


def test_an_empty_answer_ends_a_dialogue_for_good():
    """`empty` ends a dialogue and is no error: nothing is tried again, nothing is missing."""
    calls = Calls(lambda messages: "")
    result = run(GAME[:1], model_from_function(calls), out="r")
    again = run(GAME[:1], model_from_function(calls), out="r")
    assert [r["outcome"] for r in result.records()] == ["empty"]
    assert len(calls.asked) == 1
    assert result.ok
    assert again.models["function"].missing == 0


def test_a_refused_conversation_is_a_record_not_the_end():
    """A conversation that can't be sent becomes an `error` with the reason, and the others are answered."""
    row = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    dialogues = [{"id": "row", "messages": row}, {"id": "ok", "turns": ["x"]}]
    result = run(dialogues, {**SCRIPT, "consecutive_roles": "error"}, out="r")
    records = {r["id"]: r for r in result.records()}
    assert records["row"]["error"]["type"] == "MessageError"
    assert records["row"]["params"]["effective"]["max_tokens"] == 300
    assert records["ok"]["outcome"] == "answered"


def test_samples_get_seeds_of_their_own():
    """With a seed, each turn of each sample gets one derived from it; it is asked, and recorded."""
    records = list(run(GAME, "mock", out="r", repeat=2, seed=7).records())
    assert len(records) == 8
    for r in records:
        assert r["seed"] == r["params"]["asked"]["seed"] == derive_seed(7, TurnId(r["id"], r["turn"], r["sample"]))
    assert len({r["seed"] for r in records}) == 8
    assert derive_seed(7, TurnId("a", 1, 0)) == 1230421319


def test_an_entrys_seed_makes_no_two_samples_alike():
    """Samples under one seed would all be the same; so an entry's seed is the base of theirs."""
    seeded = {**SCRIPT, "seed": 5}
    records = list(run(GAME[1:], seeded, out="r", repeat=2).records())
    assert sorted(r["seed"] for r in records) == sorted(derive_seed(5, TurnId("2", 0, s)) for s in (0, 1))
    assert [r["seed"] for r in run(GAME[1:], seeded, out="s").records()] == [None]


def test_two_settings_of_one_model():
    """One model runs under two labels with two settings, each with a folder and records of its own."""
    warm = parse_model('warm at 0.7={"model_name": "mock", "temperature": 0.7}')
    result = run(GAME, ["mock", warm], out="r", params={"max_tokens": 2})
    effective = {r["label"]: r["params"]["effective"] for r in result.records()}
    assert effective == {
        "mock": {"temperature": 0.0, "max_tokens": 2},
        "warm at 0.7": {"temperature": 0.7, "max_tokens": 2},
    }
    assert [r["outcome"] for r in result.records("mock") if r["id"] == "2"] == ["answered"]


def test_labels_are_unique_and_selectors_have_names():
    """A label twice, a selector without a name, no model at all: each is refused with what to type."""
    with pytest.raises(RunError, match="two models have the label 'mock'; give one another"):
        run(GAME, ["mock", {"model_name": "mock", "temperature": 1}], out="r")
    with pytest.raises(RunError, match="has no 'model_name'"):
        parse_model('x={"temperature": 1}')
    with pytest.raises(RunError, match="is no label"):
        run(GAME, [("\x1b[2J", "mock")], out="r")
    with pytest.raises(RunError, match="a run needs a model"):
        run(GAME, [], out="r")
    assert parse_model("a=b") == "a=b"
    assert parse_model(' {"model_name": "m"}') == {"model_name": "m"}


def test_everything_is_checked_before_a_folder_is_made():
    """A bad line, an unknown model, an unknown parameter: refused, and nothing is left behind."""
    with pytest.raises(InputError):
        run([{"id": 1}], "mock", out="r")
    with pytest.raises(UnknownModel):
        run(GAME, "mokc", out="r")
    with pytest.raises(ParameterError):
        run(GAME, "mock", out="r", params={"temprature": 1})
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, "seed: 1 in the folder, 2 now"),
        ({"repeat": 1}, "repeat: 2 in the folder, 1 now"),
        ({"params": {"temperature": 0.5}}, r"models\.script\.spec\.temperature: nothing in the folder, 0\.5 now"),
        ({"models": {**SCRIPT, "answers": ["x"]}}, r"models\.script\.spec\.answers: \['one', 'two', 'three'\]"),
        ({"dialogues": [{**GAME[0], "system": "Stop."}, GAME[1]]}, r"inputs \(the first 2 dialogues\)"),
        ({"dialogues": GAME[:1]}, r"inputs\.dialogues: 2 in the folder, 1 now"),
    ],
)
def test_changed_settings_are_refused_with_what_changed(change, said):
    """An old folder takes no records made otherwise: the error says what changed, before and now."""
    start = {"dialogues": GAME, "models": SCRIPT, "out": "r", "seed": 1, "repeat": 2}
    run(**start)
    before = {p: p.read_bytes() for p in Path("r").rglob("*.json*")}
    with pytest.raises(RunError, match=said):
        run(**{**start, **change})
    assert before == {p: p.read_bytes() for p in Path("r").rglob("*.json*")}


def test_what_may_change_between_starts():
    """Models, samples and dialogues may be added; each start does only what is new."""
    run(GAME, SCRIPT, out="r")
    assert run(GAME, [SCRIPT, "mock"], out="r").models["script"].new_records == 0
    assert run(GAME, SCRIPT, out="r", repeat=2).models["script"].new_records == 4
    longer = run([*GAME, {"id": "c", "turns": ["x"]}], SCRIPT, out="r", repeat=2)
    assert longer.models["script"].new_records == 2
    manifest = json.loads(Path("r/manifest.json").read_text())
    assert (manifest["repeat"], manifest["inputs"]["dialogues"], len(manifest["starts"])) == (2, 3, 4)
    assert set(manifest["models"]) == {"script", "mock"}


def test_changed_weights_or_templates_are_refused():
    """The same spec on other weights is another model: the folder is refused after the load."""
    run(GAME, SCRIPT, out="r")
    path = Path("r/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["models"]["script"]["weights"] = {"sha256": "0" * 64}
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"models\.script\.weights\.sha256: '000"):
        run(GAME, SCRIPT, out="r")


def test_another_version_is_said_and_kept():
    """A new version of Playbill goes on with an old run, says so, and the manifest knows both."""
    run(GAME, SCRIPT, out="r")
    path = Path("r/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["starts"][0]["playbill"] = "0.0.1"
    path.write_text(json.dumps(manifest))

    texts = []

    class Notes(Silent):
        def said(self, label, text):
            texts.append(text)

    run(GAME, SCRIPT, out="r", observer=Notes())
    assert any("playbill: 0.0.1 before" in text for text in texts)


def test_what_was_warned_of_is_kept_with_the_start():
    """Who looks at a run later sees what was said while it ran."""
    run(GAME, {**SCRIPT, "answerz_of_the_manifest": True}, out="r")
    run(GAME, {**SCRIPT, "answerz_of_the_manifest": True}, out="r")
    first, second = json.loads(Path("r/manifest.json").read_text())["starts"]
    (text,) = first["warnings"]
    assert "answerz_of_the_manifest" in text
    assert "warnings" not in second, "it was said once"


def test_the_manifest_holds_no_secret():
    """A secret in an entry or a command is masked in the manifest."""
    Secret("sk-of-the-manifest-1")
    run(GAME, {**SCRIPT, "x_note": "sk-of-the-manifest-1"}, out="r", command=["playbill", "sk-of-the-manifest-1"])
    assert "sk-of-the-manifest-1" not in Path("r/manifest.json").read_text()
    assert run(GAME, {**SCRIPT, "x_note": "sk-of-the-manifest-1"}, out="r").models["script"].new_records == 0


def test_one_model_that_fails_stops_no_other():
    """A model that can't be loaded has a problem in its summary; the others run. Alone, it raises."""
    absent = {"model_name": "absent", "backend": "llamacpp", "huggingface_id": "none.gguf"}
    absent |= {"premade_chat_template": True, "eos_to_cull": "</s>"}
    result = run(GAME, [absent, SCRIPT], out="r")
    assert result.models["absent"].problem
    assert result.models["absent"].missing == 4
    assert result.models["script"].records == 4
    assert not result.ok
    with pytest.raises(Exception, match="none"):
        run(GAME, absent, out="s")


def test_two_processes_can_not_share_a_folder():
    """A folder in use is refused at once, in words; the run inside goes on unharmed."""
    refused = []

    def answer(messages):
        with pytest.raises(RunError) as e:
            run(GAME, "mock", out="r")
        refused.append(str(e.value))
        return "fine"

    assert run(GAME[1:], model_from_function(answer), out="r").ok
    assert "another process is running in r" in refused[0]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_read_only_folder_is_refused_in_words():
    """Where nothing may be written, the error names the folder and the way out."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        with pytest.raises(RunError, match=r"can't write to .*Permission denied; name another folder"):
            run(GAME, "mock", out=folder / "r")
    finally:
        if root:
            os.seteuid(0)
        folder.rmdir()


def test_a_file_in_the_way_is_refused_in_words():
    """A file where the folder should be, or where the records should be, is no traceback."""
    Path("r").write_text("a file")
    with pytest.raises(RunError, match="can't write to r"):
        run(GAME, "mock", out="r")
    Path("s/mock/records.jsonl").mkdir(parents=True)
    with pytest.raises(RunError, match="is no file that records could be in"):
        run(GAME, "mock", out="s")


def test_a_foreign_manifest_is_refused():
    """A manifest.json of something else is left as it is."""
    Path("r").mkdir()
    Path("r/manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(Exception, match="is no manifest of a run"):
        run(GAME, "mock", out="r")
    assert Path("r/manifest.json").read_text() == '{"name": "an app"}'


def test_dialogues_advance_independently():
    """While one dialogue waits for an answer, all others are run to their ends."""
    gate = threading.Event()
    finished = []

    class Order(Silent):
        def recorded(self, label, tick):
            finished.append(tick.id)
            if len(finished) == 40:
                gate.set()

    def answer(messages):
        if messages[0]["content"] == "wait":
            assert gate.wait(30)
        return "ok"

    others = [{"id": str(i), "turns": ["a", "b"]} for i in range(20)]
    model = model_from_function(answer)
    assert run([{"id": "slow", "turns": ["wait"]}, *others], model, out="r", observer=Order()).ok
    assert finished.index("slow") == 40


def test_the_observer_can_count_along():
    """Ticks carry what a progress display needs: they add up to the summary, and shrink with dialogues that end."""
    ticks = []

    class Watch(Silent):
        def recorded(self, label, tick):
            ticks.append(tick)

    summary = run(GAME, {**SCRIPT, "fail_every": 1}, out="r", observer=Watch()).models["script"]
    assert (ticks[-1].recorded, ticks[-1].turns, ticks[-1].in_flight) == (2, 2, 0)
    assert (summary.records, summary.outcomes, summary.missing) == (2, {"error": 2}, 0)


def test_a_loaded_model_stays_open():
    """A model that the caller loaded is used as it is, and still answers after the run."""
    with load_model(SCRIPT) as model:
        assert isinstance(model, Model)
        run(GAME, ("mine", model), out="r")
        assert model.generate([{"role": "user", "content": "x"}]).outcome is Outcome.ANSWERED
        with pytest.raises(RunError, match="is loaded already"):
            run(GAME, model, out="s", params={"temperature": 1})


def test_names_of_folders_are_safe():
    """Whatever the label: one folder below the run's, distinct where file systems ignore case, not too long."""
    labels = [
        "a/b",
        "..",
        "CON",
        "nul.txt",
        "x" * 300,
        "ü" * 100,
        "",
        "a b",
        "é",
        "e\u0301",
        "manifest.json",
        "-x",
        "x.",
    ]
    taken: list[str] = []
    for label in [*labels, "GPT", "gpt", "Gpt"]:
        taken.append(folder_name(label, taken))
    assert len({name.casefold() for name in taken}) == len(taken)
    for name in taken:
        assert Path(name).name == name
        assert len(name.encode()) <= 90
        assert not name.startswith((".", "-"))
        assert name.split(".")[0].lower() not in ("con", "nul")
    assert folder_name("SmolLM2-135M-Instruct-Q4") == "SmolLM2-135M-Instruct-Q4"


def test_a_pair_is_one_labelled_model_or_two_names():
    """("a", {...}) is one model under a label; ("a", "b") are two names."""
    from playbill.backends import ModelRegistry

    registry = ModelRegistry.load()
    assert [c.label for c in choose_models(("mine", SCRIPT), registry, {})] == ["mine"]
    assert [c.label for c in choose_models(("mock", "human"), registry, {})] == ["mock", "human"]


def test_the_demo_dialogues_are_good_input():
    """The packaged dialogues read without a fault: ten at least, several of several turns."""
    from importlib.resources import files

    inputs = open_inputs(Path(str(files("playbill.demo") / "dialogues.jsonl")))
    assert inputs.dialogues >= 10
    assert inputs.turns >= 2 * inputs.dialogues
