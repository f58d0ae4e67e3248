"""Public packages of data: where they are, and how they are fetched whole. Nothing here reads what is in them."""
