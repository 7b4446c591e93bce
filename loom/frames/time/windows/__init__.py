"""Windows: the moments of one symbol, and what slides over them."""
