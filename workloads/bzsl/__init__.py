"""Bayesian zero-shot learning: species of images, of which some were never seen, by a model over surrogate species.

Badirli et al. 2021; CLIBD, section 5.4 and Appendix B.2. Features may be of any origin. Needs neither torch nor Ray.
"""
