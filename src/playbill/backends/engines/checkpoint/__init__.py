"""What huggingface_local and vllm share: a Hugging Face checkpoint's files, configuration and tokenizer."""
