"""What makes llama.cpp batch-invariant: an answer has the same bits whatever else is computed."""
