"""The critic for anybody's agent: a conversation and candidates in, a choice out."""
