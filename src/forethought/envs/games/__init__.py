"""Board games, told from the side of the player to move."""
