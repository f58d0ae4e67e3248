"""From finished run folders to tables and reports, beside the published numbers; neither Ray nor torch."""
