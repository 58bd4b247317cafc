"""What `builtin` finds in sixteen languages."""
