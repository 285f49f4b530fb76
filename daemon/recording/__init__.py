"""Result files: one series, one NeXus file that grows."""
