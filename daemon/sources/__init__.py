"""Where frames come from: a stream, or a watched folder."""
