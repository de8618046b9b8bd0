"""The board: every figure that a leaderboard shows, from a scores table."""
