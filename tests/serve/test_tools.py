"""Real tools against `playbill serve`, each in an environment of its own: Inspect AI, lm-evaluation-harness, llm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from playbill.backends import load_model
from playbill.serve.server import Server
from support.environments import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # environments are made here

ANSWER = {"model_name": "four", "backend": "programmatic", "answers": ["The answer is 4."]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of one model, whose answer is always the same."""
    with Server(loaders={"four": lambda: load_model(ANSWER)}, port=0).in_background() as url:
        yield url


def run(folder: Path, *command: object, **variables: str) -> str:
    """Run a tool in a folder; nothing of this test's own Python is in its way."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"HOME": str(folder), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}
    done = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


INSPECT_TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

@task
def sums():
    samples = [Sample(input="What is 2 + 2?", target="4"), Sample(input="What is 2 + 3?", target="5")]
    return Task(dataset=samples, solver=[system_message("Be short."), generate()], scorer=includes())
"""


def test_inspect_runs_a_task_and_scores_it(url, tmp_path):
    """One of two answers is right, and so is the score; usage arrives."""
    tools = environment("inspect", "inspect-ai", "openai")
    (tmp_path / "sums.py").write_text(INSPECT_TASK)
    model = "openai-api/playbill/four"
    logs = ("--log-format", "json", "--log-dir", "logs", "--display", "plain")
    arguments = ("sums.py", "--model", model, "--temperature", "0.5", "--max-tokens", "20", "--seed", "3", *logs)
    run(tmp_path, tools / "inspect", "eval", *arguments, PLAYBILL_BASE_URL=url, PLAYBILL_API_KEY="none")
    (log,) = (tmp_path / "logs").glob("*.json")
    told = json.loads(log.read_text())
    assert told["status"] == "success"
    assert told["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.5
    assert told["stats"]["model_usage"][model]["output_tokens"] == 8


LM_EVAL_TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], do_sample: false, temperature: 0, max_gen_toks: 32}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, regexes_to_ignore: ["[^0-9]"]}
"""


def test_lm_eval_runs_a_generation_task(url, tmp_path):
    """Four at a time, with its own stop strings and seed; the score is the right one."""
    tools = environment("lm-eval", "lm-eval[api]")
    (tmp_path / "sums.yaml").write_text(LM_EVAL_TASK)
    lines = [{"question": "2+2?", "answer": "4"}, {"question": "2+3?", "answer": "5"}]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = f"model=four,base_url={url}/chat/completions,num_concurrent=4"
    task = ("--tasks", "sums", "--include_path", ".", "--apply_chat_template", "--output_path", "out")
    arguments = ("--model", "local-chat-completions", "--model_args", model, *task)
    run(tmp_path, tools / "lm_eval", *arguments, OPENAI_API_KEY="none", HF_HUB_OFFLINE="1")
    (results,) = (tmp_path / "out").rglob("results*.json")
    assert json.loads(results.read_text())["results"]["sums"]["exact_match,none"] == 0.5


@pytest.mark.parametrize("option", [[], ["--no-stream"]])
def test_llm_answers_a_prompt(url, tmp_path, option):
    """Streamed or not, the answer is printed."""
    tools = environment("llm", "llm")
    entry = f"- model_id: playbill-four\n  model_name: four\n  api_base: {url}\n"
    (tmp_path / "extra-openai-models.yaml").write_text(entry)
    command = (tools / "llm", "-m", "playbill-four", *option, "What is 2 + 2?")
    assert run(tmp_path, *command, LLM_USER_PATH=str(tmp_path)) == "The answer is 4.\n"
