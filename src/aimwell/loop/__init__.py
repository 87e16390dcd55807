"""The round: the six steps in their order, resumable; the demo, and the simulation of many rounds."""
