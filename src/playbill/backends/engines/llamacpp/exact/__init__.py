"""How llama.cpp is made to give an answer the same bits in any company."""
