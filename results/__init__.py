"""From finished run folders to tables and pages, beside the published numbers; neither Ray nor torch."""
