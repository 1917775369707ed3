"""What users write and what files say: the resources of `upright.dev` and the formats that pods exchange."""
