"""Users' states and data: sealed, content-addressed, granted and revoked object by object."""
