"""Packaged configurations of Accelerate, one YAML file each."""
