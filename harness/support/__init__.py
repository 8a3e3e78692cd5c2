"""What every folder stands on: errors, notes and bars, whole files, storage, the hub, statistics."""
