"""Models: language models, embedders and rerankers, their prices, and whether they answer."""
