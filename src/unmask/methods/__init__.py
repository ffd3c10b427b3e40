"""The survey of methods, one folder per family, each under the survey's own name for it."""
