"""Drawing: heats over pictures, sheets, animations, marks and lettering."""
