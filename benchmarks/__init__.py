"""Speed of planning and learning, measured; never run by the test command. See docs/speed.md."""
