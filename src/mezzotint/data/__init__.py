"""Sources of pictures, the pack they are prepared into once, and batches read from it by computed position."""
