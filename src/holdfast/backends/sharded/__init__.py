"""One index made of several: each user's memories live in one of them."""
