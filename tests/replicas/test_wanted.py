"""What a replica asks for, as its entry says it, and what is refused there."""

from __future__ import annotations

import pytest

from playbill.backends import ModelSpec
from playbill.backends.loading import judge_spec
from playbill.replicas.places import wanted

ENTRIES = [
    ({"backend": "vllm", "number_gpus": 2, "pipeline_parallel_size": 2}, {"CPU": 1, "GPU": 4}),
    ({"backend": "vllm", "number_gpus": 2, "num_gpus": 1}, {"CPU": 1, "GPU": 1}),
    ({"backend": "huggingface_local", "num_cpus": 4, "memory": "20GB"}, {"CPU": 4, "GPU": 1, "memory": 20 * 2**30}),
    ({"backend": "llamacpp", "threads": 3}, {"CPU": 3}),
    ({"backend": "llamacpp", "gpu_layers_offloaded": 10}, {"CPU": 1, "GPU": 1}),
    ({"backend": "llamacpp", "gpu_layers_offloaded": 10, "execute_on": "cpu"}, {"CPU": 1}),
    ({"backend": "programmatic", "num_cpus": 0.5, "resources": {"a100": 1}}, {"CPU": 0.5, "a100": 1}),
    ({"backend": "programmatic", "num_gpus": 0.25}, {"CPU": 1, "GPU": 0.25}),
]


@pytest.mark.parametrize(("entry", "bundle"), ENTRIES)
def test_an_entry_says_what_its_replica_gets(entry, bundle):
    """Its own words first; then what its backend needs."""
    assert wanted(entry, gpus=True, cpus=1).as_bundle() == bundle


def test_without_gpus_nothing_asks_for_one_but_who_names_it():
    """vllm and huggingface_local run on CPUs then; an entry that wants its layers on a GPU says so."""
    assert wanted({"backend": "vllm", "number_gpus": 2}, gpus=False, cpus=1).gpus == 0
    assert wanted({"backend": "huggingface_local"}, gpus=False, cpus=1).gpus == 0
    assert wanted({"backend": "llamacpp", "execute_on": "gpu"}, gpus=False, cpus=1).gpus == 1
    assert (
        str(wanted({"backend": "x", "memory": "1.5GB", "num_cpus": 2}, gpus=False, cpus=1)) == "2 CPU, 1.5 GiB memory"
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_gpus", -1),
        ("num_cpus", "two"),
        ("memory", "much"),
        ("memory", "0GB"),
        ("resources", {"a100": "one"}),
        ("resources", {"a100": 0}),
        ("dialogues_per_replica", 0),
    ],
)
def test_what_no_replica_can_be_given_is_refused_by_the_entrys_check(key, value):
    """Before anything is started."""
    spec = ModelSpec.from_dict({"model_name": "m", "backend": "programmatic", key: value})
    assert any(f": {key}: " in str(finding) or key in str(finding) for finding in judge_spec(spec))
