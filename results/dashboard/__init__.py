"""The dashboard: pages made of run folders alone, served while sweeps run, or exported as a folder that is mailed."""
