"""Every key of an entry that llamacpp reads: for each a test that fails if no code read it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="the extra llamacpp is not installed")

from playbill.backends import load_model
from playbill.backends.engines.base import Engine, Extent
from playbill.backends.engines.llamacpp.gguf_header import GgufHeader, read_header
from playbill.backends.engines.llamacpp.memory_plan import (
    Room,
    gpu_layers,
    kv_bytes_per_token,
    longest_dialogue,
    make_plan,
    memory_room,
)
from playbill.backends.engines.llamacpp.tokenizer import write_shell
from playbill.backends.errors import CredentialsError, EngineError, EntryError, NoTemplate, PlaybillError, WeightsError
from playbill.backends.generation import Generation, Outcome
from playbill.backends.loading import load_prompt_path
from playbill.backends.model import Model
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.runs.schedule import most_in_flight
from support.gguf_smollm2 import entry, gguf, user, write_tiny

QUESTION = user("Name three colours.")


def path_of(**keys: Any) -> PromptPath:
    _, path = load_prompt_path(entry(**keys))
    assert path is not None
    return path


def stops_of(path: PromptPath) -> dict[str, tuple[str, ...]]:
    return {stop.text: stop.sources for stop in path.stops.ids}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The weights, loaded once; entries that differ in what comes before and after them share it."""
    with load_model(entry(), dialogues=2) as model:
        yield model.engine


def answer(engine: Engine, tokens: int = 20, **keys: Any) -> Generation:
    spec, path = load_prompt_path(entry(**keys))
    return Model(spec, engine, path, "llamacpp").generate(QUESTION, max_tokens=tokens)


@pytest.fixture(scope="module")
def no_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file with SmolLM2's tokenizer and no chat template."""
    path = tmp_path_factory.mktemp("gguf") / "bare.gguf"
    write_shell(read_header(gguf()), path)
    return path


def test_premade_chat_template_is_the_one_in_the_file() -> None:
    path = path_of()
    assert path.template.source == "premade"
    assert "named SmolLM" in path.render(QUESTION)


def test_premade_chat_template_without_one_in_the_file_is_an_error(no_template: Path) -> None:
    with pytest.raises(PlaybillError, match="without a chat template"):
        path_of(huggingface_id=str(no_template))


def test_custom_chat_template_is_used_where_premade_is_false() -> None:
    custom = "{{ messages[0].content }}?"
    path = path_of(premade_chat_template=False, custom_chat_template=custom)
    assert path.render(QUESTION) == "Name three colours.?"
    assert path_of(custom_chat_template=custom).template.source == "premade"


def test_without_any_template_the_generic_one_is_used_and_marked(engine: Engine) -> None:
    path = path_of(premade_chat_template=False)
    assert path.template.source == "generic"
    assert answer(engine, 1, premade_chat_template=False).details["template"] == "generic"


def test_bos_and_eos_of_the_file_are_variables_of_the_template() -> None:
    custom = "{{ bos_token }}|{{ eos_token }}"
    assert path_of(premade_chat_template=False, custom_chat_template=custom).render(QUESTION) == (
        "<|im_start|>|<|im_end|>"
    )


def test_bos_string_replaces_the_files_bos_and_is_never_added_twice() -> None:
    custom = "{{ bos_token }}x"
    path = path_of(premade_chat_template=False, custom_chat_template=custom, bos_string="<|endoftext|>")
    assert path.render(QUESTION) == "<|endoftext|>x"
    assert path.encode(path.render(QUESTION)).count(0) == 1


def test_eos_string_replaces_the_files_eos_and_ends_answers() -> None:
    custom = "{{ messages[0].content }}{{ eos_token }}"
    path = path_of(premade_chat_template=False, custom_chat_template=custom, eos_string="<file_sep>")
    assert path.render(QUESTION).endswith("<file_sep>")
    assert "entry eos_string" in stops_of(path)["<file_sep>"]


def test_eos_to_cull_that_is_a_token_is_a_stop_id() -> None:
    path = path_of(eos_to_cull="<|im_start|>")
    assert stops_of(path)["<|im_start|>"] == ("entry",)


def test_eos_to_cull_that_is_no_token_is_a_stop_string_and_culled(engine: Engine) -> None:
    whole = answer(engine).text
    words = whole.split()
    eos = f"{words[2]} {words[3]}"
    path = path_of(eos_to_cull=eos)
    assert path.stops.strings == (eos,)
    assert answer(engine, eos_to_cull=eos).text == whole[: whole.index(eos)].strip()


def test_output_split_prefix_splits_the_answer(engine: Engine) -> None:
    whole = answer(engine).text
    prefix = whole.split()[1]
    assert answer(engine, output_split_prefix=prefix).text == whole.rpartition(prefix)[2].strip()


def test_chat_template_kwargs_reach_the_template() -> None:
    custom = "{{ mood }}"
    path = path_of(premade_chat_template=False, custom_chat_template=custom, chat_template_kwargs={"mood": "calm"})
    assert path.render(QUESTION) == "calm"


def test_chat_template_language_names_one_of_several_templates(tmp_path: Path) -> None:
    """A GGUF file may have named templates beside the default; a name that isn't there is an error that lists them."""
    pytest.importorskip("gguf")
    write_tiny(tmp_path, templates={name: f"{name}: {{{{ messages[0].content }}}}" for name in ("default", "DE")})
    several = str(tmp_path / "tiny.gguf")
    assert path_of(huggingface_id=several, chat_template_language="DE").render(QUESTION) == "DE: Name three colours."
    assert path_of(huggingface_id=several).render(QUESTION) == "default: Name three colours."
    with pytest.raises(NoTemplate, match="no chat template named 'FR', only: DE, default"):
        path_of(huggingface_id=several, chat_template_language="FR")
    with pytest.raises(EntryError, match="one template without a name"):
        path_of(chat_template_language="DE")


def test_a_split_model_is_loaded_whole_whichever_part_is_named(tmp_path: Path) -> None:
    """With or without additional_files, and both parts are in the facts."""
    pytest.importorskip("gguf")
    parts = write_tiny(tmp_path, tensors=10)
    assert [part.name for part in parts] == ["tiny-00001-of-00002.gguf", "tiny-00002-of-00002.gguf"]
    named = [
        {"huggingface_id": str(tmp_path)},
        {"huggingface_id": str(tmp_path), "filename": "*-00001-of*", "additional_files": ["*-00002-of-00002.gguf"]},
        {"huggingface_id": str(parts[1])},
    ]
    answers = []
    for keys in named:
        with load_model(entry(**keys), dialogues=1) as model:
            answers.append(model.generate(QUESTION, max_tokens=3).output_ids)
            assert [each["file"] for each in model.engine.facts()["weights"]] == [part.name for part in parts]
    assert len(set(answers)) == 1
    parts[1].unlink()
    with pytest.raises(WeightsError, match=r"parts are missing: tiny-00002-of-00002\.gguf"):
        load_model(entry(huggingface_id=str(tmp_path)))


def test_cot_effort_and_cot_bypass_reach_the_prompt() -> None:
    custom = "{{ reasoning_effort }}|"
    keys = {"premade_chat_template": False, "custom_chat_template": custom, "cot_effort": "low"}
    assert path_of(**keys, cot_bypass="<|im_start|>so").render(QUESTION) == "low|<|im_start|>so"
    with pytest.raises(EntryError, match="cot_effort can't be honoured: the chat template doesn't read"):
        path_of(cot_effort="low")


def test_date_reaches_the_template() -> None:
    custom = "{{ strftime_now('%Y-%m-%d') }}"
    path = path_of(premade_chat_template=False, custom_chat_template=custom, date="2024-07-26")
    assert path.render(QUESTION) == "2024-07-26"


def test_n_ctx_is_what_each_dialogue_gets() -> None:
    """Whatever the number of slots; llama.cpp's own n_ctx is the total."""
    with load_model(entry(n_ctx=256), dialogues=3) as model:
        facts = model.engine.facts()
        assert (facts["slots"], facts["n_ctx"]) == (3, 256)
        generation = model.generate(user("Write a story about a tower, a very long one. " * 15), max_tokens=200)
        assert generation.outcome is Outcome.TRUNCATED
        assert len(generation.prompt_ids) + len(generation.output_ids) == 256
        assert model.generate(user("word " * 260)).outcome is Outcome.CONTEXT_EXCEEDED


def test_context_size_is_a_limit_and_so_is_the_files_own() -> None:
    assert path_of(n_ctx=100_000).context_size == 8192
    assert path_of(n_ctx=100_000, context_size="2k").context_size == 2048
    assert path_of(n_ctx=1024, context_size=2048).context_size == 1024
    assert path_of(n_ctx=100_000, context_size="128k").context_size == 8192


def test_threads_is_the_number_of_threads() -> None:
    with load_model(entry(threads=1), dialogues=1) as model:
        assert model.engine.facts()["threads"] == 1


def test_execute_on_gpu_without_one_says_so() -> None:
    cpu = {"name": "CPU"}
    assert gpu_layers(entry(), [cpu]) == 0
    with pytest.raises(EngineError, match="layers should go to a GPU"):
        gpu_layers(entry(execute_on="gpu"), [cpu])


def test_gpu_layers_offloaded_is_how_many_go_to_the_gpu() -> None:
    devices = [{"name": "CPU"}, {"name": "Metal"}]
    assert gpu_layers(entry(execute_on="gpu"), devices) > 1000
    assert gpu_layers(entry(execute_on="gpu", gpu_layers_offloaded=12), devices) == 12
    assert gpu_layers(entry(gpu_layers_offloaded=12), devices) == 12
    assert gpu_layers(entry(), devices) == 0


def test_filename_chooses_among_the_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a-Q4_1.gguf", "a-Q8_0.gguf"):
        (tmp_path / name).symlink_to(gguf())
    with pytest.raises(WeightsError, match=r"several files.*a-Q4_1.gguf, a-Q8_0.gguf"):
        path_of(huggingface_id=str(tmp_path))
    assert path_of(huggingface_id=str(tmp_path), filename="*Q8_0.gguf").context_size == 1024


def test_requires_api_key_without_one_fails_before_any_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CredentialsError, match="playbill keys set huggingface"):
        load_model(entry(huggingface_id="org/gated", filename="*.gguf", requires_api_key=True))


def test_what_is_no_gguf_file_is_said_to_be_none(tmp_path: Path) -> None:
    for name, content in {"text.gguf": b"hello, world, hello", "empty.gguf": b"", "cut.gguf": b"GGUF"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            path_of(huggingface_id=str(tmp_path / name))
    (tmp_path / "short.gguf").write_bytes(gguf().read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"short.gguf.*cut off|short.gguf.*buffer"):
        path_of(huggingface_id=str(tmp_path / "short.gguf"))
    (tmp_path / "new.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 99, 0, 0))
    with pytest.raises(WeightsError, match="version is 99"):
        path_of(huggingface_id=str(tmp_path / "new.gguf"))


def test_weights_that_llama_cpp_cannot_load_are_an_error(tmp_path: Path) -> None:
    """The header is right, and the tensors are missing."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf().read_bytes()[:5_000_000])
    with pytest.raises(WeightsError, match=re.escape(str(broken))):
        load_model(entry(huggingface_id=str(broken)))


ROOM = Room(1 << 34, 1 << 34)


class TestPlan:
    """Memory is shared out so that a dialogue's context never shrinks for the sake of speed."""

    def header(self) -> GgufHeader:
        return read_header(gguf())

    def test_the_key_value_cache_is_known(self) -> None:
        assert kv_bytes_per_token(self.header()) == 30 * 3 * (64 + 64) * 2

    def test_slots_follow_the_dialogues_up_to_a_bound(self) -> None:
        few = entry(threads=1)
        plans = [make_plan(few, self.header(), dialogues=n, room=ROOM) for n in (1, 5, None, 200)]
        assert [plan.slots for plan in plans] == [1, 5, 8, 8]

    def test_many_threads_and_gpus_have_more_slots(self) -> None:
        many = [entry(threads=6), entry(execute_on="gpu")]
        plans = [make_plan(each, self.header(), dialogues=200, room=ROOM) for each in many]
        assert [plan.slots for plan in plans] == [24, 32]

    def test_batch_size_is_the_most_slots(self) -> None:
        sizes = [entry(threads=2, batch_size=size) for size in (1, 3, 16, 64)]
        plans = [make_plan(each, self.header(), dialogues=32, room=ROOM) for each in sizes]
        assert [plan.slots for plan in plans] == [1, 3, 16, 32]

    def test_single_is_one_slot(self) -> None:
        assert make_plan(entry(batching="single"), self.header(), dialogues=32, room=ROOM).slots == 1
        with pytest.raises(EntryError, match="batching is 'single', so batch_size can't be 4"):
            make_plan(entry(batching="single", batch_size=4), self.header(), dialogues=32, room=ROOM)

    def test_those_under_way_and_those_waiting_fill_the_slots_and_no_more(self) -> None:
        """Were there more, a dialogue's slot would be taken by another between two of its turns."""
        for dialogues in range(3, 33):
            plan = make_plan(entry(threads=8), self.header(), dialogues=dialogues, room=ROOM)
            assert plan.slots - 2 <= most_in_flight(plan.concurrency) <= plan.slots == dialogues

    def test_dialogues_are_kept_in_memory_only_where_they_share_slots(self) -> None:
        plans = [make_plan(entry(threads=1), self.header(), dialogues=n, room=ROOM) for n in (8, 9, 200)]
        assert plans[0].cache_mib == 0
        assert 0 < plans[1].cache_mib < plans[2].cache_mib

    def test_the_context_is_what_the_longest_dialogue_can_need(self) -> None:
        """The limit stays the model's, so what is asked and recorded doesn't depend on the other dialogues."""
        open_entry = {**entry(), "n_ctx": None, "max_tokens": 60}
        longest = longest_dialogue(open_entry, Extent(text_bytes=1000, messages=7, answers=4), (100, 80))
        assert longest == 1000 + 100 + 7 * 80 + 4 * 75
        plan = make_plan(open_entry, self.header(), dialogues=4, room=ROOM, longest=longest)
        assert (plan.n_ctx, plan.limit) == (2048, 8192)
        assert make_plan(entry(), self.header(), dialogues=4, room=ROOM, longest=longest).n_ctx == 1024

    def test_a_plan_never_chooses_between_the_factors_of_longrope(self) -> None:
        """llama.cpp takes the long ones where a slot has more than the first training's tokens, 512 here."""
        model = {"general.architecture": "phi3", "phi3.context_length": 8192, "phi3.embedding_length": 64}
        model["phi3.rope.scaling.original_context_length"] = 512
        header = GgufHeader(model, {}, frozenset(), frozenset(["rope_factors_long.weight"]))

        def n_ctx(longest: int | None, memory: int = 1 << 34, **keys: Any) -> int:
            asked = {**entry(), "n_ctx": None, **keys}
            return make_plan(asked, header, dialogues=1, room=Room(memory, memory), longest=longest).n_ctx

        lengths = (None, 40, 500, 5000)
        assert all(n_ctx(longest) > 512 for longest in lengths)
        assert all(n_ctx(longest, context_size="2k") > 512 for longest in lengths)
        assert all(n_ctx(longest, context_size=400) <= 512 for longest in lengths)
        assert all(n_ctx(longest, n_ctx=512) <= 512 for longest in lengths)
        with pytest.raises(EngineError, match=r"memory holds a context of 512 tokens.* set n_ctx to 512 or less"):
            n_ctx(40, memory=512 * kv_bytes_per_token(header))

    def test_keys_and_values_of_layers_on_a_card_lie_on_the_card(self) -> None:
        """The computer's memory, however large, makes the card no larger; dialogues without a slot lie in it."""
        gib = 1 << 30
        model = {"general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096}
        model |= {"llama.attention.head_count": 32, "llama.attention.head_count_kv": 8, "llama.context_length": 131072}
        header = GgufHeader(model, {}, frozenset(), frozenset())
        devices = [{"name": "CPU", "memory_free": 1024 * gib}, {"name": "CUDA0", "memory_free": 80 * gib}]
        asked = {**entry(execute_on="gpu"), "n_ctx": None}
        room = memory_room(asked, header, devices, weights=5 * gib, layers=9999)
        assert room.slots == 67 * gib
        plan = make_plan(asked, header, dialogues=100, room=room)
        assert 1 <= plan.slots * plan.n_ctx * kv_bytes_per_token(header) / gib <= 67
        cards = [{"name": "CUDA0", "memory_free": size * gib} for size in (8, 24)]
        half = memory_room(asked, header, [devices[0], cards[0]], weights=8 * gib, layers=16)
        assert half.slots <= 2 * (8 * 0.9 - 4) * gib + 1
        with pytest.raises(EngineError, match=r"40.0 GiB of weights should go to a GPU, which has 24.0 GiB free"):
            memory_room(asked, header, [devices[0], cards[1]], weights=40 * gib, layers=9999)

    def test_unbounded_thinking_takes_the_whole_context(self) -> None:
        extent = Extent(text_bytes=10, messages=1, answers=1)
        thinks = {**entry(), "cot_end_tag": "</think>"}
        assert longest_dialogue(thinks, extent, (0, 0)) is None
        assert longest_dialogue({**thinks, "max_thinking_tokens": 100}, extent, (0, 0)) == 10 + 375 + 100

    def test_little_memory_costs_slots_first(self) -> None:
        per_dialogue = 1024 * kv_bytes_per_token(self.header())
        plan = make_plan(entry(), self.header(), dialogues=8, room=Room(3 * per_dialogue, 3 * per_dialogue))
        assert (plan.slots, plan.n_ctx) == (3, 1024)
        assert make_plan(entry(), self.header(), dialogues=8, room=Room(0, 0)).n_ctx == 1024

    def test_a_context_nobody_chose_is_cut_where_not_even_one_fits(self) -> None:
        memory = 2000 * kv_bytes_per_token(self.header())
        plan = make_plan({**entry(), "n_ctx": None}, self.header(), dialogues=8, room=Room(memory, memory))
        assert (plan.slots, plan.n_ctx) == (1, 1792)
