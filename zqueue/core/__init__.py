"""What is decided with: batches, leases, credit, confirms. Pure; one noun a file."""
