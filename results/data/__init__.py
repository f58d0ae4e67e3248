"""What a data set holds: its statistics beside the paper's, as sheets, files and figures."""
