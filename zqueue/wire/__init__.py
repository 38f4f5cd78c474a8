"""What all peers say to one another: messages, bodies, results, and the link between two. Pure."""
