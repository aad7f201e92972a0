"""The models of the package: how they are made."""
