"""What is deployed, and how its artefacts are made."""
