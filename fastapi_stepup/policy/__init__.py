"""What a session must prove."""
