"""Machine-detected behavioral facts: one small pure module per kind, each with the spans it rests on."""
