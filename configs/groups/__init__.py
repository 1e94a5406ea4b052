"""Groups of the settings, a file each, where a group is more than some fields; `configs.settings` joins them."""
