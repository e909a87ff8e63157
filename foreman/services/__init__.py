"""One verb each: what foreman does, as a pure decision, the call, and the record of what came of it."""
