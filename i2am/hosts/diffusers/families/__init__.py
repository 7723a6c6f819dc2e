"""Families of joint-attention transformers in diffusers: what the arguments of a call say of its tokens, one file each."""
