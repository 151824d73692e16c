"""Light in layered tissue: from physiology to the colour that a camera sees."""
