"""What several methods do alike: latents of prompts, layers opened and replaced, values refined.

A method need not use any of it. Its source enters the key of every edit, so a change here makes all edits anew.
"""
