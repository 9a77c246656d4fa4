"""Seeds to pictures: any generator, one stream of random numbers per image, sheets of what came out."""
