"""What every room uses: console output, errors, files, locks, moments, paths, processes."""
