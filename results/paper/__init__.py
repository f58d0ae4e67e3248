"""The paper's tables: which runs stand in which, the cells beside the published numbers, and what is said of them."""
