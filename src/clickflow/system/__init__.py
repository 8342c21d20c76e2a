"""What every room uses: console output, errors, files, paths, processes."""
