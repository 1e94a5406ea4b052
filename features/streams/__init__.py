"""The streams: entries -> `stream_reader` (as they come) or `drain` (to the offline log); `backlog` counts them."""
