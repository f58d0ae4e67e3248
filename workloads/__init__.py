"""Plain PyTorch: specimens, towers, training and evaluation, in one process or any process group; no Ray."""
