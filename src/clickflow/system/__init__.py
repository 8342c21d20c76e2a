"""What every room stands on: words for people, errors, files, paths, processes."""
