"""Cases that are conversations: scripts, simulated users, the talk with an agent, and how like real talk it is."""
