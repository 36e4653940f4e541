"""Colours and lightness as arrays at any size: no files, no words, no model."""
