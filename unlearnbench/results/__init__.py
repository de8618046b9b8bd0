"""The scores table: its form, how it is put together, merged and published."""
