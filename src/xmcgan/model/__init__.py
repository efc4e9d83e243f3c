"""The two networks, written as the paper describes them."""
