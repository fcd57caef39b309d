"""Is this study of the kind that the encoder was made for, and how far is its similarity to be believed?"""
