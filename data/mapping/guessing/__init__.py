"""What the columns of a table hold, guessed from their names and content.

sample -> roles of the columns (event type, scale of ratings, preset) -> guess, or questions where it is not clear
"""
