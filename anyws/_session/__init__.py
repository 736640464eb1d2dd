"""The law: one guarded connection over any channel."""
