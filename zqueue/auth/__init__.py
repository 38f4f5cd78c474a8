"""Who may do what: key files, and the list of those whom a broker knows."""
