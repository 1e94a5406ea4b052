"""The streams: entries -> `stream_reader` (as they come) or `compaction` (`drain` to log); `backlog` counts them."""
