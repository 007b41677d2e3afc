"""Pictures for a GGUF model with a second file that sees, its mmproj."""
