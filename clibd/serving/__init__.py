"""`clibd serve`: one page and an HTTP interface that name what people send; nothing of it touches a disk."""
