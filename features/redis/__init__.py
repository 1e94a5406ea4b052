"""The wire to the store: commands -> `wire` -> answers, or one of `errors`.

`connection` shares one connection, `scripts` runs the Lua files, `keys` names every key, `layout` checks the format.
"""
