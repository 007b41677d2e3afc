"""What every room uses: findings, JSON files, secrets, warnings, text made safe for terminals."""
