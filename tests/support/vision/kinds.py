"""The kinds of vision models that tests are made of: each a real configuration and a real processor, made tiny."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.vision import templates
from support.vision.kind import CLIP, TEXT, Kind, token_id
from support.vision.more_kinds import MORE_KINDS
from support.vision.other_kinds import OTHER_KINDS, vipllava_config
from support.vision.tokens import tiny_tokenizer


def _qwen_processor(name: str) -> Callable[[], Any]:
    def make() -> Any:
        import transformers
        from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

        tokens = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
        sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
        bounds = {"shortest_edge": 8 * 8, "longest_edge": 8 * 8 * 48}
        return getattr(transformers, name)(
            image_processor=transformers.Qwen2VLImageProcessor(**sizes, size=bounds),
            tokenizer=tiny_tokenizer(tokens),
            video_processor=Qwen2VLVideoProcessor(**sizes, size=bounds),
        )

    return make


def _qwen_config(tokenizer: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    return {
        "text_config": {**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, "use_sliding_window": False},
        "vision_start_token_id": token_id(tokenizer, "<|vision_start|>"),
        "vision_end_token_id": token_id(tokenizer, "<|vision_end|>"),
        "image_token_id": token_id(tokenizer, "<|image_pad|>"),
        "video_token_id": token_id(tokenizer, "<|video_pad|>"),
    }


def _qwen2_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 4}
    return {**_qwen_config(tokenizer), "vision_config": {**eyes, "spatial_merge_size": 2, "in_channels": 3}}


def _qwen2_5_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"depth": 2, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 4, "intermediate_size": 48}
    more = {"patch_size": 4, "spatial_merge_size": 2, "window_size": 16, "fullatt_block_indexes": [1]}
    return {**_qwen_config(tokenizer), "vision_config": {**eyes, **more}}


def _llava_processor() -> Any:
    from transformers import CLIPImageProcessor, LlavaProcessor

    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, do_center_crop=True
        ),
        tokenizer=tiny_tokenizer(["<image>"], adds_bos=True),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def _llava_config(tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": {"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": {"model_type": "clip_vision_model", **CLIP},
        "image_token_index": token_id(tokenizer, "<image>"),
        "image_token_id": token_id(tokenizer, "<image>"),
        "vision_feature_layer": -2,
        "image_seq_length": 16,
    }


def _llava_next_processor() -> Any:
    from transformers import LlavaNextImageProcessor, LlavaNextProcessor

    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 28},
            crop_size={"height": 28, "width": 28},
            image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        ),
        tokenizer=tiny_tokenizer(["<image>"], adds_bos=True),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def _llava_next_config(tokenizer: Any) -> dict[str, Any]:
    return {
        **_llava_config(tokenizer),
        "text_config": {"model_type": "mistral", **TEXT, "vocab_size": len(tokenizer), "sliding_window": None},
        "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]],
    }


def _idefics3_processor() -> Any:
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    rows = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]
    special = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *rows]
    return Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=True
        ),
        tokenizer=tiny_tokenizer(special),
        image_seq_len=4,
    )


def _smolvlm_processor() -> Any:
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    rows = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]
    special = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *rows]
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    sampling = {"fps": 1, "max_frames": 4, "video_size": {"longest_edge": 32}}
    return SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**sizes, do_image_splitting=True),
        tokenizer=tiny_tokenizer(special),
        video_processor=SmolVLMVideoProcessor(size={"longest_edge": 32}, video_sampling=sampling),
        image_seq_len=4,
    )


def _idefics3_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "text_config": {"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": {**eyes, "image_size": 32, "patch_size": 8},
        "image_token_id": token_id(tokenizer, "<image>"),
        "scale_factor": 2,
        "pad_token_id": 0,
    }


def _internvl_processor() -> Any:
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    special = ["<|im_start|>", "<|im_end|>", "<video>"]
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size={"height": 28, "width": 28}, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tiny_tokenizer(special, named=named),
        video_processor=InternVLVideoProcessor(size={"height": 28, "width": 28}),
        image_seq_length=4,
    )


def _internvl_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "text_config": {"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        "vision_config": {**eyes, "image_size": [28, 28], "patch_size": [7, 7]},
        "image_token_id": token_id(tokenizer, "<IMG_CONTEXT>"),
        "image_seq_length": 4,
        "downsample_ratio": 0.5,
    }


def _mistral3_processor() -> Any:
    from transformers import PixtralImageProcessor, PixtralProcessor

    special = ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
    return PixtralProcessor(
        image_processor=PixtralImageProcessor(size={"longest_edge": 56}, patch_size={"height": 14, "width": 14}),
        tokenizer=tiny_tokenizer(special, adds_bos=True),
        patch_size=7,
        spatial_merge_size=2,
    )


def _mistral3_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"model_type": "pixtral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    more = {"num_attention_heads": 4, "head_dim": 8, "image_size": 56, "patch_size": 7}
    return {
        "text_config": {"model_type": "mistral", **TEXT, "vocab_size": len(tokenizer), "sliding_window": None},
        "vision_config": {**eyes, **more},
        "image_token_index": token_id(tokenizer, "[IMG]"),
        "image_token_id": token_id(tokenizer, "[IMG]"),
        "spatial_merge_size": 2,
        "vision_feature_layer": -1,
    }


def _gemma3_processor() -> Any:
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    return Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tiny_tokenizer(["<start_of_turn>", "<end_of_turn>"], named=named, adds_bos=True),
        image_seq_length=4,
    )


def _gemma3_config(tokenizer: Any) -> dict[str, Any]:
    eyes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "text_config": {**TEXT, "vocab_size": len(tokenizer), "sliding_window": 64, "query_pre_attn_scalar": 8},
        "vision_config": {**eyes, "image_size": 32, "patch_size": 8, "model_type": "siglip_vision_model"},
        "image_token_id": token_id(tokenizer, "<image_soft_token>"),
        "boi_token_id": token_id(tokenizer, "<start_of_image>"),
        "eoi_token_id": token_id(tokenizer, "<end_of_image>"),
        "mm_tokens_per_image": 4,
    }


_QWEN2_5 = _qwen_processor("Qwen2_5_VLProcessor")
KINDS = {
    "qwen2_vl": Kind("qwen2_vl", templates.QWEN, _qwen_processor("Qwen2VLProcessor"), _qwen2_config, True, True),
    "qwen2_5_vl": Kind(
        "qwen2_5_vl", templates.QWEN, _qwen_processor("Qwen2_5_VLProcessor"), _qwen2_5_config, True, True
    ),
    "llava": Kind("llava", templates.LLAVA, _llava_processor, _llava_config),
    "llava_next": Kind("llava_next", templates.LLAVA_NEXT, _llava_next_processor, _llava_next_config),
    "idefics3": Kind("idefics3", templates.IDEFICS, _idefics3_processor, _idefics3_config),
    "smolvlm": Kind("smolvlm", templates.IDEFICS, _smolvlm_processor, _idefics3_config, True),
    "internvl": Kind("internvl", templates.INTERNVL, _internvl_processor, _internvl_config, True, True),
    "mistral3": Kind("mistral3", templates.MISTRAL, _mistral3_processor, _mistral3_config, True, True),
    "gemma3": Kind("gemma3", templates.GEMMA, _gemma3_processor, _gemma3_config, strings=True),
    "vipllava": Kind("vipllava", templates.LLAVA, _llava_processor, vipllava_config(_llava_config)),
    **MORE_KINDS,
    **OTHER_KINDS,
}
