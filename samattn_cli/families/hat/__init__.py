"""HAT: windows with channel attention next to them, and windows whose keys overlap."""
