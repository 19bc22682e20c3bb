"""What a step costs: read its command, classify it, remember its runs, estimate the next one."""
