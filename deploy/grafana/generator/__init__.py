"""Dashboards as data: what they ask (`expressions`), how (`queries`), how it looks (`panels`), and the boards themselves."""
