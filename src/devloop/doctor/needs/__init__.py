"""What an install reads of the project: the files that have to be copied before it, found by reading them.

A manifest may name more files: requirements include requirements, workspaces have members, a lifecycle script
runs a program of the source. Each reader here follows what it knows and says `Stop` where a text could mean
more than that, because an install that misses a file fails in a build that used to work.
"""
