"""Events: bytes -> checked event -> one script call in the store -> what it did -> answer."""
