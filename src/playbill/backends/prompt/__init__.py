"""From messages to token ids: messages, chat templates, tokenizers, stop ids."""
