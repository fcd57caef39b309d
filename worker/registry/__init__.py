"""Registry facts (PIRTA table 3) beyond the images' header: what the hospital gives, and what its worklist says."""
