"""A data set to records: listing, checking, describing and writing its pictures, on many cores."""
