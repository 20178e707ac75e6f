"""A package that another project might publish; `acme_streams` is imported by that name."""
