"""More kinds of vision models: those whose prompts, features or attention are of a manner of their own."""

from __future__ import annotations

from typing import Any

from support.vision import templates
from support.vision.kind import TEXT, Kind, token_id
from support.vision.tokens import tiny_tokenizer

_EYES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_SIGLIP = {"model_type": "siglip_vision_model", **_EYES, "vision_use_head": False}
_PINPOINTS = [[28, 56], [56, 28], [56, 56]]


def _onevision_processor() -> Any:
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor

    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size={"height": 28, "width": 28}, image_grid_pinpoints=_PINPOINTS),
        tokenizer=tiny_tokenizer(["<|im_start|>", "<|im_end|>", "<image>", "<video>"]),
        video_processor=LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )


def _onevision_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": {
            "model_type": "siglip_vision_model",
            **_EYES,
            "image_size": 28,
            "patch_size": 7,
            "vision_use_head": False,
        },
        "image_token_index": token_id(tokenizer, "<image>"),
        "image_token_id": token_id(tokenizer, "<image>"),
        "video_token_index": token_id(tokenizer, "<video>"),
        "video_token_id": token_id(tokenizer, "<video>"),
        "image_grid_pinpoints": _PINPOINTS,
        "vision_feature_select_strategy": "full",
        "vision_feature_layer": -1,
        "vision_aspect_ratio": "anyres_max_9",
    }


def _idefics2_processor() -> Any:
    from transformers import Idefics2ImageProcessor, Idefics2Processor

    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    return Idefics2Processor(
        image_processor=Idefics2ImageProcessor(size={"shortest_edge": 24, "longest_edge": 56}),
        tokenizer=tiny_tokenizer(special, adds_bos=True),
        image_seq_len=4,
    )


def _idefics2_config(tokenizer: Any) -> dict[str, Any]:
    perceiver = {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 4, "resampler_head_dim": 8}
    return {
        "text_config": {"model_type": "mistral", **TEXT, "vocab_size": len(tokenizer), "sliding_window": None},
        "vision_config": {**_EYES, "image_size": 56, "patch_size": 7},
        "perceiver_config": {**perceiver, "hidden_size": 32, "num_key_value_heads": 2},
        "image_token_id": token_id(tokenizer, "<image>"),
    }


def _mllama_processor() -> Any:
    from transformers import MllamaImageProcessor, MllamaProcessor

    special = ["<|image|>", "<|python_tag|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return MllamaProcessor(
        image_processor=MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=4),
        tokenizer=tiny_tokenizer(special, adds_bos=True),
    )


def _mllama_config(tokenizer: Any) -> dict[str, Any]:
    text = {name: value for name, value in TEXT.items() if name != "head_dim"}
    eyes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "attention_heads": 4}
    more = {"num_global_layers": 1, "image_size": 28, "patch_size": 7, "max_num_tiles": 4, "vision_output_dim": 64}
    return {
        "text_config": {**text, "vocab_size": len(tokenizer), "num_hidden_layers": 3, "cross_attention_layers": [1]},
        "vision_config": {**eyes, **more, "intermediate_layers_indices": [0]},
        "image_token_index": token_id(tokenizer, "<|image|>"),
        "image_token_id": token_id(tokenizer, "<|image|>"),
    }


def glm4v_processor() -> Any:
    """Return GLM-4V's processor."""
    from transformers import Glm4vImageProcessor, Glm4vProcessor, Glm4vVideoProcessor

    special = ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|image|>", "<|video|>"]
    marks = ["<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    bounds = {"shortest_edge": 8 * 8 * 2, "longest_edge": 8 * 8 * 96}
    return Glm4vProcessor(
        image_processor=Glm4vImageProcessor(**sizes, size=bounds),
        tokenizer=tiny_tokenizer([*special, *marks]),
        video_processor=Glm4vVideoProcessor(**sizes, size=bounds),
    )


def glm4v_config(tokenizer: Any) -> dict[str, Any]:
    """Return GLM-4V's configuration."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 0, 1], "partial_rotary_factor": 0.5}
    eyes = {"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "intermediate_size": 48}
    return {
        "text_config": {**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        "vision_config": {**eyes, "patch_size": 4, "image_size": 32, "spatial_merge_size": 2},
        "image_token_id": token_id(tokenizer, "<|image|>"),
        "video_token_id": token_id(tokenizer, "<|video|>"),
        "image_start_token_id": token_id(tokenizer, "<|begin_of_image|>"),
        "image_end_token_id": token_id(tokenizer, "<|end_of_image|>"),
        "video_start_token_id": token_id(tokenizer, "<|begin_of_video|>"),
        "video_end_token_id": token_id(tokenizer, "<|end_of_video|>"),
    }


def qwen3_processor() -> Any:
    """Return Qwen3-VL's processor."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    tokens = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    bounds = {"shortest_edge": 8 * 8, "longest_edge": 8 * 8 * 48}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes, size=bounds),
        tokenizer=tiny_tokenizer(tokens),
        video_processor=Qwen3VLVideoProcessor(**sizes, size=bounds),
    )


def qwen3_config(tokenizer: Any) -> dict[str, Any]:
    """Return Qwen3-VL's configuration."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    eyes = {"depth": 3, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "intermediate_size": 48}
    more = {"patch_size": 4, "spatial_merge_size": 2, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
    return {
        "text_config": {**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope},
        "vision_config": {**eyes, **more},
        "image_token_id": token_id(tokenizer, "<|image_pad|>"),
        "video_token_id": token_id(tokenizer, "<|video_pad|>"),
        "vision_start_token_id": token_id(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": token_id(tokenizer, "<|vision_end|>"),
    }


def _cohere_processor() -> Any:
    from transformers import Cohere2VisionImageProcessor, Cohere2VisionProcessor

    named = {"image_token": "<|IMG_PATCH|>", "boi_token": "<|START_OF_IMG|>", "eoi_token": "<|END_OF_IMG|>"}
    turns = [
        "<|START_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
        "<|SYSTEM_TOKEN|>",
    ]
    return Cohere2VisionProcessor(
        image_processor=Cohere2VisionImageProcessor(size={"height": 32, "width": 32}, max_patches=4, patch_size=2),
        tokenizer=tiny_tokenizer(turns, named={**named, "img_line_break_token": "<|IMG_LINE_BREAK|>"}, adds_bos=True),
    )


def _cohere_config(tokenizer: Any) -> dict[str, Any]:
    text = {"model_type": "cohere2", **TEXT, "vocab_size": len(tokenizer), "sliding_window": 64}
    return {
        "text_config": {**text, "layer_types": ["sliding_attention", "full_attention"]},
        "vision_config": {
            "model_type": "siglip_vision_model",
            **_EYES,
            "image_size": 32,
            "patch_size": 8,
            "vision_use_head": False,
        },
        "image_token_id": token_id(tokenizer, "<|IMG_PATCH|>"),
        "alignment_intermediate_size": 64,
        "downsample_factor": 2,
    }


def _lfm2_processor() -> Any:
    from transformers import Lfm2VlImageProcessor, Lfm2VlProcessor

    named = {"image_token": "<image>", "image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
    rows = [f"<|img_row_{i + 1}_col_{j + 1}|>" for i in range(4) for j in range(4)]
    return Lfm2VlProcessor(
        image_processor=Lfm2VlImageProcessor(
            tile_size=32, encoder_patch_size=8, min_image_tokens=2, max_image_tokens=8, max_tiles=4,
            size={"height": 32, "width": 32},
        ),
        tokenizer=tiny_tokenizer(
            ["<|im_start|>", "<|im_end|>", *rows], named={**named, "image_thumbnail_token": "<|img_thumbnail|>"}
        ),
    )  # fmt: skip


def _lfm2_config(tokenizer: Any) -> dict[str, Any]:
    text = {"model_type": "lfm2", **TEXT, "vocab_size": len(tokenizer), "block_multiple_of": 8}
    return {
        "text_config": {**text, "layer_types": ["conv", "full_attention"]},
        "vision_config": {
            "model_type": "siglip2_vision_model",
            **_EYES,
            "patch_size": 8,
            "num_patches": 16,
            "vision_use_head": False,
        },
        "image_token_id": token_id(tokenizer, "<image>"),
        "projector_hidden_size": 48,
    }


def _pixtral_processor() -> Any:
    from transformers import PixtralImageProcessor, PixtralProcessor

    special = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    return PixtralProcessor(
        image_processor=PixtralImageProcessor(size={"longest_edge": 56}, patch_size={"height": 14, "width": 14}),
        tokenizer=tiny_tokenizer(special, adds_bos=True),
        patch_size=14,
        spatial_merge_size=1,
    )


def _pixtral_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "mistral", **TEXT, "vocab_size": len(tokenizer), "sliding_window": None},
        "vision_config": {"model_type": "pixtral", **_EYES, "head_dim": 8, "image_size": 56, "patch_size": 14},
        "image_token_index": token_id(tokenizer, "[IMG]"),
        "image_token_id": token_id(tokenizer, "[IMG]"),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }


def _aya_processor() -> Any:
    from transformers import AyaVisionProcessor, GotOcr2ImageProcessor

    turns = [f"<|{name}_TOKEN|>" for name in ("START_OF_TURN", "END_OF_TURN", "USER", "CHATBOT", "SYSTEM")]
    marks = ["<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE_GLOBAL"]
    tiles = [f"TILE_{i + 1}" for i in range(4)]
    return AyaVisionProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tiny_tokenizer([*turns, "<image>", *marks, *tiles], adds_bos=True),
        patch_size=8,
        img_size=32,
        downsample_factor=2,
    )


def _aya_config(tokenizer: Any) -> dict[str, Any]:
    config = {name: value for name, value in _cohere_config(tokenizer).items() if name != "alignment_intermediate_size"}
    image = token_id(tokenizer, "<|IMG_PATCH|>")
    return {**config, "image_token_id": image, "image_token_index": image, "vision_feature_layer": -1}


def _gemma4_processor() -> Any:
    from transformers import (
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
        Gemma4Processor,
        Gemma4VideoProcessor,
    )

    named = {"boi_token": "<|image>", "eoi_token": "<image|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"}
    more = {"audio_token": "<|audio|>", "image_token": "<|image|>"}
    sizes = {"patch_size": 8, "max_soft_tokens": 70, "pooling_kernel_size": 2}
    return Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(**sizes),
        tokenizer=tiny_tokenizer(
            ["<start_of_turn>", "<end_of_turn>", "<|video|>"], named={**named, **more}, adds_bos=True
        ),
        video_processor=Gemma4VideoProcessor(**sizes),
        image_seq_length=70,
    )


def _gemma4_config(tokenizer: Any) -> dict[str, Any]:
    layers = {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
    inputs = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": len(tokenizer)}
    more = {"sliding_window": 64, "use_bidirectional_attention": "vision"}
    eyes = {"num_key_value_heads": 4, "head_dim": 8, "pooling_kernel_size": 2, "position_embedding_size": 64}
    return {
        "text_config": {**TEXT, "vocab_size": len(tokenizer), **layers, **inputs, **more},
        "vision_config": {"model_type": "gemma4_vision", **_EYES, **eyes, "patch_size": 8},
        "audio_config": None,
        "image_token_id": token_id(tokenizer, "<|image|>"),
        "boi_token_id": token_id(tokenizer, "<|image>"),
        "eoi_token_id": token_id(tokenizer, "<image|>"),
        "video_token_id": token_id(tokenizer, "<|video|>"),
        "audio_token_id": token_id(tokenizer, "<|audio|>"),
    }


MORE_KINDS = {
    "pixtral": Kind("llava", templates.MISTRAL, _pixtral_processor, _pixtral_config, True, True),
    "aya_vision": Kind("aya_vision", templates.AYA, _aya_processor, _aya_config, True, True),
    "gemma4": Kind("gemma4", templates.GEMMA4, _gemma4_processor, _gemma4_config, True, True),
    "llava_onevision": Kind("llava_onevision", templates.ONEVISION, _onevision_processor, _onevision_config, True),
    "idefics2": Kind("idefics2", templates.IDEFICS2, _idefics2_processor, _idefics2_config),
    "mllama": Kind("mllama", templates.MLLAMA, _mllama_processor, _mllama_config, strings=True),
    "glm4v": Kind("glm4v", templates.GLM, glm4v_processor, glm4v_config, True, True),
    "qwen3_vl": Kind("qwen3_vl", templates.QWEN, qwen3_processor, qwen3_config, True, True),
    "cohere2_vision": Kind("cohere2_vision", templates.COHERE, _cohere_processor, _cohere_config, True, True),
    "lfm2_vl": Kind("lfm2_vl", templates.LFM, _lfm2_processor, _lfm2_config, True, True),
}
