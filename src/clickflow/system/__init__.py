"""What every room uses: console output, errors, files, moments, paths, processes."""
