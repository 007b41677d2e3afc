"""Kinds of vision models beside those that most people take: other forms of known ones, and odd ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.vision import templates
from support.vision.kind import TEXT, Kind, token_id
from support.vision.more_kinds import glm4v_config, glm4v_processor, qwen3_config, qwen3_processor
from support.vision.tokens import tiny_tokenizer

_EYES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_INDICATORS = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")


def _ovis2_processor() -> Any:
    from transformers import Ovis2ImageProcessor, Ovis2Processor

    return Ovis2Processor(
        image_processor=Ovis2ImageProcessor(
            size={"height": 28, "width": 28}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tiny_tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<IMG_ATOM>", *_INDICATORS]),
        image_seq_length=4,
    )


def _ovis2_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": {**_EYES, "image_size": 28, "patch_size": 7, "hidden_stride": 2, "vocab_size": 64},
        "image_token_id": token_id(tokenizer, "<IMG_ATOM>"),
        "visual_indicator_token_ids": [token_id(tokenizer, token) for token in _INDICATORS],
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
    }


def _deepseek_processor() -> Any:
    from transformers import DeepseekVLHybridImageProcessor, DeepseekVLHybridProcessor

    sizes = {"size": {"height": 32, "width": 32}, "high_res_size": {"height": 64, "width": 64}}
    return DeepseekVLHybridProcessor(
        DeepseekVLHybridImageProcessor(**sizes, min_size=14),
        tiny_tokenizer(["<|User|>"], named={"image_token": "<image_placeholder>"}, adds_bos=True),
        num_image_tokens=16,
    )


def _deepseek_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"model_type": "siglip_vision_model", **_EYES, "image_size": 32, "patch_size": 8, "vision_use_head": False}
    wide = {"model_type": "sam_vision_model", "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 2}
    more = {"num_attention_heads": 4, "image_size": 64, "patch_size": 8, "mlp_dim": 48, "window_size": 4}
    return {
        "text_config": {"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": eyes,
        "high_res_vision_config": {**wide, **more, "global_attn_indexes": [1], "num_pos_feats": 8},
        "image_token_id": token_id(tokenizer, "<image_placeholder>"),
    }


def _glm46v_processor() -> Any:
    from transformers import Glm46VImageProcessor, Glm46VProcessor, Glm46VVideoProcessor

    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    bounds = {"shortest_edge": 8 * 8 * 2, "longest_edge": 8 * 8 * 96}
    return Glm46VProcessor(
        image_processor=Glm46VImageProcessor(**sizes, size=bounds),
        tokenizer=glm4v_processor().tokenizer,
        video_processor=Glm46VVideoProcessor(**sizes, size=bounds),
    )


def _qwen3_5_config(tokenizer: Any) -> dict[str, Any]:
    config = qwen3_config(tokenizer)
    heads = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2}
    layers = {"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4}
    eyes = {name: value for name, value in config["vision_config"].items() if not name.startswith("deepstack")}
    return {**config, "text_config": {**config["text_config"], **heads, **layers}, "vision_config": eyes}


def vipllava_config(llava: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Return what makes LLaVA's configuration one of VipLLaVA, which reads several layers of its encoder."""

    def make(tokenizer: Any) -> dict[str, Any]:
        config = {name: value for name, value in llava(tokenizer).items() if name != "vision_feature_layer"}
        return {**config, "vision_feature_layers": [-2, -1]}

    return make


_DEEPSEEK = templates.LLAVA.replace("<image>", "<image_placeholder>")
_OVIS2 = templates.INTERNVL.replace("<IMG_CONTEXT>", "<image>")
OTHER_KINDS = {
    "ovis2": Kind("ovis2", _OVIS2, _ovis2_processor, _ovis2_config, strings=True),
    "deepseek_vl_hybrid": Kind("deepseek_vl_hybrid", _DEEPSEEK, _deepseek_processor, _deepseek_config),
    "glm46v": Kind("glm46v", templates.GLM, _glm46v_processor, glm4v_config, True, True),
    "qwen3_5": Kind("qwen3_5", templates.QWEN, qwen3_processor, _qwen3_5_config, True, True),
}
