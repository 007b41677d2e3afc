"""`playbill diff`: two prompt paths on the same messages, entries and real servers alike."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

import support.proof_planted as planted
from playbill.backends import Context, Credentials, ModelRegistry, load_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.proof.add.web import ServerError
from playbill.proof.diff.compare import compare
from playbill.proof.diff.renderers import Rendering, open_renderer
from support.pictures import tiny_png

CHAT = [{"role": "user", "content": "Hello, «world»! 塔"}]


def made(text: str | None, ids=(1, 2, 3), **more) -> Rendering:
    return Rendering(text, tuple(ids) if ids is not None else None, **more)


def test_equal_sides_do_not_differ():
    """Text and ids the same, or two refusals."""
    assert not compare(made("abc"), made("abc")).differs
    both = compare(Rendering(refused="no"), Rendering(refused="never"))
    assert (both.differs, both.refusal) == (False, "both refuse: no")


def test_the_first_difference_is_shown_in_context():
    """What is common before it, and what each side has there, with the text of each token."""
    left = made("abcd", (1, 2, 3), pieces=("a", "b", "cd"))
    right = made("abxd", (1, 2, 4, 5))
    found = compare(left, right)
    assert (found.text.at, found.text.common, found.text.left, found.text.right) == (2, "ab", "cd", "xd")
    assert (found.ids.at, found.ids.common, found.ids.left, found.ids.right) == (2, "1 2", "3:'cd'", "4 5")
    assert found.differs


def test_a_side_that_is_longer_differs_at_the_other_ones_end():
    """A prefix is not the same."""
    found = compare(made("ab", (1, 2)), made("abc", (1, 2, 3)))
    assert (found.text.at, found.ids.left, found.ids.right) == (2, "(the end)", "3")


def test_ids_decide_where_both_sides_have_them():
    """A server that leaves BOS out of its text and not of its ids sends the same prompt."""
    found = compare(made("<s>a"), made("a"))
    assert found.text is not None
    assert not found.differs
    assert compare(made("<s>a", None), made("a")).differs


def test_what_ends_an_answer_is_compared_too():
    """Stop ids and stop strings; a side that doesn't say which it has, as a server, differs by none."""
    left = made("a", stops={2: "</s>", 7: "<|im_end|>"})
    right = made("a", stops={2: "</s>", "###": "###"})
    found = compare(left, right)
    assert found.differs
    assert found.stops == "only A ends an answer at 7:'<|im_end|>'; only B ends an answer at '###'"
    assert found.to_dict()["stops"] == found.stops
    assert left.to_dict()["stops"] == [{"stop": 2, "text": "</s>"}, {"stop": 7, "text": "<|im_end|>"}]
    assert not compare(left, left).differs
    assert not compare(left, made("a")).differs


def test_two_entries_that_end_answers_otherwise_differ(playbill, place, smol):
    """Though they send the same prompt."""
    entry = {"backend": "llamacpp", "huggingface_id": str(smol), "premade_chat_template": True}
    entries = [
        {**entry, "model_name": "a", "eos_to_cull": "<|im_end|>"},
        {**entry, "model_name": "b", "eos_to_cull": ["<|im_end|>", "<|im_start|>"]},
    ]
    (place / "model_registry.json").write_text(json.dumps(entries))
    code, out, _ = playbill("diff", "a", "b")
    assert (code, "only B ends an answer at 1:'<|im_start|>'" in out) == (1, True)
    assert playbill("diff", "a", "a")[0] == 0


def test_a_refusal_on_one_side_is_a_difference():
    """Which side, in its own words."""
    found = compare(made("a"), Rendering(refused="System role not supported"))
    assert (found.differs, found.refusal) == (True, "the second refuses: System role not supported")


@pytest.fixture(scope="module")
def smol():
    """The real GGUF file, and its entry under another template."""
    pytest.importorskip("xllamacpp")
    from support.smollm2 import GGUF, gguf_folder

    return gguf_folder() / GGUF


@pytest.fixture(scope="module")
def llama_server(smol):
    """A real server of llama.cpp with its HTTP listener on a loopback port."""
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(smol)
    params.n_ctx = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = 0
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


def test_an_entry_and_llama_cpps_own_server_send_the_same_ids(playbill, place, smol, llama_server):
    """Playbill's rendering and tokenizing against llama.cpp's, on a dialogue with markup and Unicode."""
    code, out, _ = playbill("diff", str(smol), llama_server)
    assert (code, out.splitlines()[-1]) == (0, "no difference")
    (place / "chat.json").write_text(json.dumps(CHAT))
    code, out, _ = playbill("diff", llama_server, str(smol), "chat.json", "--json")
    found = json.loads(out)
    assert (code, found["differs"]) == (0, False)
    assert found["a"]["ids"] == found["b"]["ids"]
    assert found["a"]["text"] == found["b"]["text"]


def test_a_server_of_llama_cpp_can_be_added(playbill, place, llama_server):
    """It lists its model with context and size; both stand in the entry."""
    _, out, _ = playbill("add", llama_server, "--name", "served", "-y", "--json")
    entry = json.loads(out)["added"][0]["entry"]
    assert (entry["model_name"], entry["base_url"]) == ("served", f"{llama_server}/v1")
    assert entry["parameters"] == "135M"


def test_another_template_is_a_difference(playbill, place, smol):
    """The generic template has no default system message: exit code 1, and where."""
    entry = {"model_name": "other", "backend": "llamacpp", "huggingface_id": str(smol)}
    entry |= {"premade_chat_template": False, "eos_to_cull": "<|im_end|>"}
    (place / "model_registry.json").write_text(json.dumps([entry]))
    code, out, _ = playbill("diff", str(smol), "other")
    assert code == 1
    assert "ids differ from token 1 on" in out
    assert "A: 9690:'system'" in out


def test_two_engines_render_and_tokenize_alike(playbill, smol):
    """transformers' tokenizer and llama.cpp's, of one model in two formats; llama.cpp ends at more tokens by itself."""
    pytest.importorskip("torch")
    from support.smollm2 import smollm2_folder

    code, out, _ = playbill("diff", str(smol), str(smollm2_folder()))
    differing = "stops differ: only A ends an answer at 0:'<|endoftext|>', 4:'<reponame>'"
    assert (code, out.splitlines()[2:]) == (1, [differing])


def test_a_model_without_a_prompt_path_is_an_error(playbill):
    """What takes messages renders elsewhere."""
    code, _, err = playbill("diff", "mock", "mock")
    assert code == 2
    assert "no prompt here to compare" in err


class _Vllm(BaseHTTPRequestHandler):
    """The two routes of vLLM's server that `diff` needs, with the tokenizer and template of a prompt path."""

    path_behind: PromptPath
    refuses = False

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "served"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokenizer = self.path_behind.tokenizer
        if self.path == "/tokenize" and self.refuses:
            self._answer(400, {"error": "System role not supported"})
        elif self.path == "/tokenize" and body["model"] == "served":
            ids = tokenizer.encode(self.path_behind.render(body["messages"]))
            self._answer(200, {"count": len(ids), "max_model_len": 4096, "tokens": ids})
        elif self.path == "/detokenize":
            self._answer(200, {"prompt": tokenizer.decode(body["tokens"])})
        else:
            self._answer(404, {"error": "Not Found"})

    def _answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def vllm():
    handler = type("Handler", (_Vllm,), {"path_behind": planted.Planted().open()[1]})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", handler
    running.shutdown()
    running.server_close()


def here() -> Context:
    return Context(credentials=Credentials([]), date=datetime(2026, 11, 23))


def test_vllms_routes_give_ids_and_text(vllm):
    """It has no /apply-template: messages go to /tokenize, ids come back through /detokenize."""
    url, handler = vllm
    side = open_renderer(f"{url}#served", ModelRegistry([]), here()).make(CHAT)
    path = handler.path_behind
    assert side.text == path.render(CHAT)
    assert side.ids == path.encode(side.text)


def test_a_conversation_that_a_server_refuses_is_a_refusal(vllm):
    """Status 400 is the template's word, not a failure of the comparison."""
    url, handler = vllm
    side = open_renderer(url, ModelRegistry([]), here())
    handler.refuses = True
    assert side.make(CHAT).refused is not None


def test_a_server_without_these_routes_is_an_error(vllm):
    """Another model's name makes /tokenize fail as well, so nothing is left to ask."""
    with pytest.raises(ServerError, match="neither /apply-template nor /tokenize"):
        open_renderer(f"{vllm[0]}#other", ModelRegistry([]), here())


def test_a_folder_of_gguf_files_is_a_side_too(playbill, smol):
    """A folder with one GGUF file is that file."""
    assert playbill("diff", str(smol.parent), str(smol))[0] == 0


@pytest.fixture(scope="module")
def seeing():
    """A GGUF model that sees, with a template that writes a line's end after a picture, as LLaVA's."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("PIL", reason="needs the extra `vision`")
    pytest.importorskip("gguf", reason="needs the extra `hf`")
    from support.gguf_eyes import seeing_folder

    return seeing_folder()


@pytest.fixture
def picture_talk(place):
    (place / "cat.png").write_bytes(tiny_png(40, 30))
    talk = [{"role": "user", "content": [{"type": "image", "path": "cat.png"}, {"type": "text", "text": "This?"}]}]
    (place / "talk.json").write_text(json.dumps(talk))
    return talk


def test_llama_cpps_own_server_is_compared_on_pictures(playbill, place, seeing, picture_talk):
    """By the text around them and the number of tokens: it leaves out what the template writes beside a picture, which
    shows; under a template that writes nothing there it sends the same."""
    import xllamacpp

    from support.gguf_eyes import TEMPLATE, entry_of

    bare = entry_of(seeing, premade_chat_template=False, custom_chat_template=TEMPLATE.replace("<image>\n", "<image>"))
    (place / "model_registry.json").write_text(json.dumps([entry_of(seeing), {**bare, "model_name": "bare"}]))
    params = xllamacpp.CommonParams()
    params.model.path = str(seeing / "model.gguf")
    params.mmproj.path = str(seeing / "mmproj-model-f32.gguf")
    params.n_ctx, params.verbosity, params.n_parallel = 512, 0, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    code, out, _ = playbill("diff", "bare", server.listening_address, "talk.json")
    assert (code, out.splitlines()[-1]) == (0, "no difference")
    assert "B: http" in out
    assert "27 tokens" in out
    code, out, _ = playbill("diff", server.listening_address, "eyes", "talk.json")
    assert code == 1
    assert "A: 'This?" in out
    assert "B: '\\nThis?" in out
    assert "A has 27 tokens with the pictures', B 28" in out
    del server


def test_a_server_of_vllm_is_compared_on_pictures(playbill, place, seeing, picture_talk):
    """It gives a placeholder for each, so the text around them is compared; another text is a difference."""
    from support.gguf_eyes import entry_of

    (place / "model_registry.json").write_text(json.dumps([entry_of(seeing)]))
    _, path = load_prompt_path("eyes", registry=ModelRegistry.load())
    handler = type("Handler", (_Vllm,), {"path_behind": path})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=running.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{running.server_port}#served"
    try:
        code, out, _ = playbill("diff", "eyes", url, "talk.json")
        assert (code, out.splitlines()[-1]) == (0, "no difference")
        other = path.template.text.replace("<|im_start|>assistant", "<|im_start|>model")
        handler.path_behind = replace(path, template=replace(path.template, text=other))
        code, out, _ = playbill("diff", url, "eyes", "talk.json", "--json")
    finally:
        running.shutdown()
        running.server_close()
    assert (code, json.loads(out)["differs"]) == (1, True)
