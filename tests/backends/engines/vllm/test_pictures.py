"""vLLM with pictures, without vLLM: what it is given, and that it is held to the ids of the model's own processor."""

from __future__ import annotations

import pytest

from playbill.backends import EngineError
from playbill.backends.engines.vllm.arguments import engine_arguments
from playbill.backends.engines.vllm.pictures import check_expanded


def test_other_ids_than_the_processors_are_an_error():
    """With the place where they part; the same, or none told, are not."""
    check_expanded((1, 9, 9, 2), [1, 9, 9, 2])
    check_expanded((1, 9, 9, 2), None)
    with pytest.raises(EngineError, match=r"made 5 ids .* own processor 4; they part at 3"):
        check_expanded((1, 9, 9, 2), [1, 9, 9, 9, 2])


def test_only_a_model_that_sees_has_more_than_ids(tmp_path):
    """Its pictures are limited for each prompt, and no other media are planned for."""
    (tmp_path / "config.json").write_text('{"dtype": "float32"}')

    class Files:
        folder = tmp_path

    def made(**entry):
        return engine_arguments(entry, Files(), 512, None, trust=False, progress=False, cpu_memory=None)

    assert made()["language_model_only"] is True
    sees = made(multimodality={"single_image": True}, pictures_per_prompt=3)
    assert "language_model_only" not in sees
    assert "skip_tokenizer_init" not in sees
    assert sees["limit_mm_per_prompt"] == {"image": 3, "video": 0, "audio": 0}
    assert made(multimodal=True)["limit_mm_per_prompt"]["image"] == 8
