"""The Dockerfile language: text to instructions, variables to values. Nothing here touches the disk."""
