"""The console: stored state -> views -> routes; and the pages, which ask for one snapshot a second."""
